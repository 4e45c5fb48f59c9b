//! `?` out of any block, into any error type, and the body's own error back.

use withal::{Error, async_with, nullcontext, scope, suppress, with};

#[derive(Debug, PartialEq, thiserror::Error)]
enum Transfer {
    #[error("{missing} short")]
    InsufficientFunds { missing: u64 },
}

#[derive(Debug, thiserror::Error)]
enum AppError {
    #[error("the transfer failed")]
    Block(#[from] Error),
}

fn short(missing: u64) -> Result<(), Transfer> {
    match missing {
        0 => Ok(()),
        missing => Err(Transfer::InsufficientFunds { missing }),
    }
}

async fn into_anyhow(missing: u64) -> anyhow::Result<u64> {
    with(nullcontext(()), |()| Ok(short(missing)?))?;
    async_with(nullcontext(()), async |()| Ok(short(missing)?)).await?;
    let n = scope(async |s| {
        let n = s.enter(nullcontext(missing)).await?;
        s.with(nullcontext(()), async |_, ()| Ok(anyhow::Ok(())?))
            .await?;
        Ok(*n)
    })
    .await?;
    Ok(n)
}

async fn into_box(missing: u64) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    scope(async |s| {
        s.with(nullcontext(()), async |_, ()| Ok(short(missing)?))
            .await?;
        Ok(())
    })
    .await?;
    Ok(())
}

async fn into_own(missing: u64) -> Result<(), AppError> {
    async_with(nullcontext(()), async |()| {
        with(nullcontext(()), |()| Ok(short(missing)?))?;
        Ok(())
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn the_question_mark_takes_a_blocks_error_into_any_type() {
    assert_eq!(into_anyhow(0).await.unwrap(), 0);
    let error = into_anyhow(3).await.unwrap_err();
    assert_eq!(error.to_string(), "3 short");
    let block = error.downcast_ref::<Error>().unwrap();
    assert_eq!(
        block.downcast_ref(),
        Some(&Transfer::InsufficientFunds { missing: 3 })
    );

    let error = into_box(4).await.unwrap_err();
    let block = error.downcast::<Error>().unwrap();
    assert_eq!(
        block.downcast::<Transfer>().unwrap(),
        Transfer::InsufficientFunds { missing: 4 }
    );

    let AppError::Block(error) = into_own(5).await.unwrap_err();
    assert_eq!(
        error.downcast::<Transfer>().unwrap(),
        Transfer::InsufficientFunds { missing: 5 }
    );
}

#[test]
fn a_body_takes_text_and_boxes_too() {
    let error = with(nullcontext(()), |()| Err::<(), _>("text".into())).unwrap_err();
    assert_eq!(error.to_string(), "text");
    let none = with(suppress::<Transfer>(), |_| Ok(short(1)?)).unwrap();
    assert_eq!(none, None);
}

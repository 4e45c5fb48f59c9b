//! The pools of others, each used as its documentation says.

mod sqlx;
mod tokio_postgres;

pub(crate) use sqlx::sqlx;
pub(crate) use tokio_postgres::{bb8, deadpool};

//! What was ordered, and the invoice for it.

use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, Result};

/// An order; shown, it is its invoice.
#[derive(Debug)]
pub(crate) struct Order {
    number: u32,
    customer: String,
    cents: u64,
}

/// Reads all orders.
pub(crate) fn read(path: &Path) -> Result<Vec<Order>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path:?}"))?;
    let lines = text.lines().enumerate();
    lines
        .map(|(at, line)| {
            let order = line.parse();
            order.with_context(|| format!("line {} of {path:?} is no order", at + 1))
        })
        .collect()
}

impl Order {
    /// Tells it from all other orders.
    pub(crate) fn key(&self) -> String {
        self.number.to_string()
    }
}

impl FromStr for Order {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Order> {
        let mut fields = line.splitn(3, ',');
        let mut field = |name| fields.next().with_context(|| format!("no {name}"));
        Ok(Order {
            number: field("number")?.parse()?,
            customer: field("customer")?.to_owned(),
            cents: field("amount in cents")?.parse()?,
        })
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Order {
            number,
            customer,
            cents,
        } = self;
        writeln!(f, "Invoice {number}\n")?;
        writeln!(f, "To: {customer}")?;
        writeln!(f, "Total: {}.{:02} EUR", cents / 100, cents % 100)
    }
}

//! Prints the access log of this example, the same each time: a day of a small web site.
//!
//! ```console
//! $ cargo run -p withal-example-nightly-report --bin make-access-log > examples/nightly-report/access.log
//! ```
#![forbid(unsafe_code)]

use std::io::{self, BufWriter, Write as _};

use fastrand::Rng;
use jiff::civil::date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Zoned};

/// How many requests come in each hour of the day.
const HOURS: [u32; 24] = [
    34, 26, 19, 15, 14, 20, 37, 68, 104, 131, 144, 149, 138, 142, 150, 146, 139, 132, 128, 137,
    141, 126, 92, 58,
];

/// Paths, how often each is asked for, and how many bytes it has.
const PAGES: [(&str, u32, u32); 14] = [
    ("/", 210, 6_412),
    ("/style.css", 170, 14_080),
    ("/logo.svg", 160, 2_318),
    ("/products", 120, 18_733),
    ("/products/42", 64, 9_215),
    ("/products/7", 51, 9_004),
    ("/search?q=lamp", 40, 11_462),
    ("/cart", 38, 5_210),
    ("/checkout", 17, 7_842),
    ("/api/stock?id=42", 60, 312),
    ("/blog/", 26, 12_904),
    ("/blog/2026/winter-sale", 22, 15_377),
    ("/favicon.ico", 44, 1_150),
    ("/robots.txt", 12, 118),
];

const AGENTS: [(&str, u32); 6] = [
    (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
        52,
    ),
    (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.1 Mobile/15E148 Safari/604.1",
        24,
    ),
    (
        "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
        12,
    ),
    (
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        7,
    ),
    ("curl/8.14.1", 3),
    ("python-requests/2.32.4", 2),
];

/// What those look for who do not mean well.
const PROBES: [&str; 5] = [
    "/wp-login.php",
    "/.env",
    "/admin/",
    "/xmlrpc.php",
    "/cgi-bin/luci",
];

fn main() -> io::Result<()> {
    let mut random = Rng::with_seed(20_261_120);
    let midnight = date(2026, 11, 20).to_zoned(TimeZone::UTC);
    let midnight = midnight.map_err(io::Error::other)?;
    let mut out = BufWriter::new(io::stdout().lock());
    for (hour, requests) in (0..).zip(HOURS) {
        let mut seconds: Vec<i64> = (0..requests).map(|_| random.i64(0..3600)).collect();
        seconds.sort_unstable();
        for second in seconds {
            let at = &midnight + SignedDuration::from_secs(hour * 3600 + second);
            writeln!(out, "{}", line(&mut random, hour, &at))?;
        }
    }
    out.flush()
}

fn line(random: &mut Rng, hour: i64, at: &Zoned) -> String {
    let at = at.strftime("%d/%b/%Y:%H:%M:%S %z");
    if random.u32(0..400) == 0 {
        // What a client sends that speaks another protocol.
        let client = address(random, "203.0.113.", 40);
        return format!(r#"{client} - - [{at}] "\x16\x03\x01\x02\x00\x01" 400 226 "-" "-""#);
    }
    if random.u32(0..45) == 0 {
        let client = address(random, "203.0.113.", 12);
        let probe = PROBES.get(random.usize(0..PROBES.len())).unwrap_or(&"/");
        return format!(r#"{client} - - [{at}] "GET {probe} HTTP/1.1" 404 196 "-" "curl/7.68.0""#);
    }
    let client = match random.u32(0..3) {
        0 => address(random, "192.0.2.", 250),
        _ => address(random, "198.51.100.", 220),
    };
    let (path, bytes) = page(random);
    let agent = chosen(random, &AGENTS.map(|(agent, weight)| (agent, weight)));
    let method = match path {
        "/cart" | "/checkout" if random.bool() => "POST",
        _ => "GET",
    };
    let (status, bytes) = match random.u32(0..1000) {
        // In the afternoon the shop's backend was down for a while.
        0..=180 if hour == 15 && path.starts_with("/c") => (502, 524),
        0..=11 => (404, 196),
        12..=15 => (500, 530),
        16..=39 => (301, 238),
        40..=199 if method == "GET" => (304, 0),
        _ => (200, bytes + random.u32(0..400)),
    };
    let size = match bytes {
        0 => "-".to_owned(),
        bytes => bytes.to_string(),
    };
    let referer = match random.u32(0..10) {
        0..=3 => "-",
        4 => "https://www.google.com/",
        _ => "https://shop.example/",
    };
    format!(
        r#"{client} - - [{at}] "{method} {path} HTTP/1.1" {status} {size} "{referer}" "{agent}""#
    )
}

/// Some addresses come again and again, most seldom.
fn address(random: &mut Rng, network: &str, most: u32) -> String {
    let number = random.u32(1..=most).min(random.u32(1..=most));
    format!("{network}{number}")
}

fn page(random: &mut Rng) -> (&'static str, u32) {
    let path = chosen(random, &PAGES.map(|(path, weight, _)| (path, weight)));
    let page = PAGES.iter().find(|(known, ..)| *known == path);
    page.map_or((path, 0), |(path, _, bytes)| (path, *bytes))
}

fn chosen(random: &mut Rng, weighted: &[(&'static str, u32)]) -> &'static str {
    let sum = weighted.iter().map(|(_, weight)| weight).sum();
    let mut left = random.u32(0..sum);
    for (what, weight) in weighted {
        match left.checked_sub(*weight) {
            Some(rest) => left = rest,
            None => return what,
        }
    }
    "/"
}

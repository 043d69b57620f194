//! How the report speaks with a program that runs another system: a line on its standard input asks
//! for a turn, a line on its standard output tells how long each call took.

use std::io::{BufRead, Write};
use std::str::FromStr;
use std::time::Duration;

use crate::Times;

/// What the calls of a turn do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Find out whose key it is, and whether the owner is active.
    Authenticate,
    /// Change the description of one token, and record it.
    Update,
}

/// A turn that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// What to do.
    pub work: Work,
    /// How many callers there are.
    pub callers: u64,
    /// For how long.
    pub lasting: Duration,
    /// The number of the first call.
    pub first: u64,
}

impl Asked {
    /// The line that asks for it.
    pub fn line(&self) -> String {
        let work = match self.work {
            Work::Authenticate => "authenticate",
            Work::Update => "update",
        };
        format!("{work} {} {} {}", self.callers, self.lasting.as_millis(), self.first)
    }
}

impl FromStr for Asked {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let unreadable = || format!("no turn: {line:?}");
        let mut words = line.split_whitespace();
        let work = match words.next() {
            Some("authenticate") => Work::Authenticate,
            Some("update") => Work::Update,
            _ => return Err(unreadable()),
        };
        let mut number = || words.next().and_then(|word| word.parse().ok()).ok_or_else(unreadable);
        let (callers, lasting) = (number()?, Duration::from_millis(number()?));
        Ok(Self { work, callers, lasting, first: number()? })
    }
}

/// Says `ready`, and then does what it is asked until nobody asks any more.
pub fn answer(ready: &str, mut turn: impl FnMut(Asked) -> Times) {
    let mut out = std::io::stdout();
    writeln!(out, "{ready}").unwrap();
    for line in std::io::stdin().lock().lines() {
        let times = turn(line.unwrap().parse().unwrap());
        writeln!(out, "{}", times.line()).unwrap();
    }
}

impl Times {
    /// The line that tells them, in nanoseconds: the time of the whole turn, and each call's.
    fn line(&self) -> String {
        let mut line = self.within().as_nanos().to_string();
        for call in self.calls() {
            line.push(' ');
            line.push_str(&call.as_nanos().to_string());
        }
        line
    }
}

impl FromStr for Times {
    type Err = std::num::ParseIntError;

    fn from_str(line: &str) -> Result<Self, Self::Err> {
        let mut times = line.split_whitespace().map(|word| word.parse().map(Duration::from_nanos));
        let within = times.next().transpose()?.unwrap_or_default();
        Ok(Self::new(times.collect::<Result<_, _>>()?, within))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_and_what_is_told_arrive() {
        let lasting = Duration::from_millis(300);
        let asked = Asked { work: Work::Update, callers: 8, lasting, first: 7_000_000 };
        assert_eq!(asked.line().parse(), Ok(asked));
        assert!("update 8 300".parse::<Asked>().is_err());
        assert!("delete 8 300 1".parse::<Asked>().is_err());

        let told = Times::new(vec![Duration::from_nanos(900), Duration::from_nanos(5)], lasting);
        let heard: Times = told.line().parse().unwrap();
        assert_eq!((heard.calls(), heard.within()), (told.calls(), told.within()));
    }
}

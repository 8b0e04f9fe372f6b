//! Dates with slashes, of which the two small numbers are month and day in an order that one cell seldom tells.

use crate::model::DateOrder;

use super::dates::{Moment, civil_days, clock_seconds, micros, number};

/// `a/b/yyyy`, and `a/b/yyyy h:mm:ss AM`.
#[derive(Clone, Copy)]
pub(super) struct Slashed {
    small: [i32; 2],
    year: i32,
    /// Since midnight.
    seconds: i64,
}

impl Slashed {
    pub fn parse(cell: &[u8]) -> Option<Slashed> {
        let (date, time) = match cell.iter().position(|byte| *byte == b' ') {
            Some(at) => (&cell[..at], Some(&cell[at + 1..])),
            None => (cell, None),
        };
        let mut parts = date.split(|byte| *byte == b'/');
        let (a, b, year) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || year.len() != 4 || a.len() > 2 || b.len() > 2 {
            return None;
        }
        let seconds = time.map_or(Some(0), parse_clock)?;
        Some(Slashed { small: [number(a)?, number(b)?], year: number(year)?, seconds })
    }

    /// The moment in this order, if that is a date.
    pub fn moment(self, order: DateOrder) -> Option<Moment> {
        let [month, day] = match order {
            DateOrder::MonthFirst => self.small,
            DateOrder::DayFirst => [self.small[1], self.small[0]],
        };
        let days = civil_days(self.year, month, day)?;
        Some(Moment { days, micros: micros(self.seconds), offset_minutes: 0 })
    }

    /// The order in which alone it is a date.
    pub fn proves(self) -> Option<DateOrder> {
        match [DateOrder::MonthFirst, DateOrder::DayFirst].map(|order| self.moment(order).is_some()) {
            [true, false] => Some(DateOrder::MonthFirst),
            [false, true] => Some(DateOrder::DayFirst),
            _ => None,
        }
    }

    /// Whether it is a date in some order.
    pub fn is_date(self) -> bool {
        self.moment(DateOrder::MonthFirst).or(self.moment(DateOrder::DayFirst)).is_some()
    }
}

/// `h:mm:ss AM`.
fn parse_clock(time: &[u8]) -> Option<i64> {
    let at = time.iter().position(|byte| *byte == b' ')?;
    let (clock, half) = (&time[..at], &time[at + 1..]);
    let mut parts = clock.split(|byte| *byte == b':');
    let (hour, minute, second) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || hour.len() > 2 || minute.len() != 2 || second.len() != 2 {
        return None;
    }
    let hour = number(hour).filter(|hour| (1..=12).contains(hour))? % 12;
    let afternoon = match half {
        [b'A' | b'a', b'M' | b'm'] => 0,
        [b'P' | b'p', b'M' | b'm'] => 12,
        _ => return None,
    };
    clock_seconds(hour + afternoon, number(minute)?, number(second)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_proves_an_order_when_it_is_no_date_in_the_other() {
        use DateOrder::{DayFirst, MonthFirst};
        for (cell, is_date, proves) in [
            ("9/15/2026", true, Some(MonthFirst)),
            ("15/9/2026", true, Some(DayFirst)),
            ("09/15/2026 1:02:03 PM", true, Some(MonthFirst)),
            ("9/10/2026", true, None),
            ("9/9/2026", true, None),
            // In February the second number alone is too large: 2/30 is no date, and month 30 neither.
            ("2/30/2026", false, None),
            ("31/4/2026", false, None),
            ("13/13/2026", false, None),
            ("2/29/2024", true, Some(MonthFirst)),
            ("0/15/2026", false, None),
        ] {
            let slashed = Slashed::parse(cell.as_bytes()).unwrap();
            assert_eq!((slashed.is_date(), slashed.proves()), (is_date, proves), "{cell}");
        }
        for cell in [
            "9/15",
            "9/15/26",
            "9/15/2026 13:00:00",
            "9/15/2026 0:00:00 AM",
            "9-15-2026",
            "9/1/2026/1",
            "1/1/2026 ",
        ] {
            assert!(Slashed::parse(cell.as_bytes()).is_none(), "{cell}");
        }
    }
}

//! Whose trace does a request belong to?
//! Given its `traceparent`, hands back the trace and the span it comes from (W3C Trace Context, Level 1, §3.2).
//! Never reads the sampled flag: a caller does not decide what is recorded here.

use http::HeaderMap;
use http::header::HeaderName;

use super::Context;

/// The name of the header.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// `00-` trace `-` parent `-` flags.
const LENGTH: usize = 55;

/// The sender's context; `None` if there is none, there are several, or it cannot be read.
pub(super) fn of(headers: &HeaderMap) -> Option<Context> {
    let mut all = headers.get_all(TRACEPARENT).iter();
    let one = all.next().filter(|_| all.next().is_none())?;
    read(one.as_bytes())
}

fn read(value: &[u8]) -> Option<Context> {
    let (head, rest) = value.split_at_checked(LENGTH)?;
    let [v0, v1, b'-', ids @ .., b'-', f0, f1] = head else { return None };
    let (version, _flags) = (number(&[*v0, *v1])?, number(&[*f0, *f1])?);
    // §3.2.4: a later version may say more, behind another hyphen; of this one no more is known.
    let ends_well = rest.is_empty() || (version > 0 && rest.first() == Some(&b'-'));
    let (trace, span) = (ids.get(..32)?, ids.get(32..)?.strip_prefix(b"-")?);
    let context = Context { trace: number(trace)?, span: u64::try_from(number(span)?).ok()? };
    (version != 0xff && ends_well && context.trace != 0 && context.span != 0).then_some(context)
}

/// Lower-case hexadecimal alone: §3.2.2.
fn number(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |sum: u128, digit| match digit {
        b'0'..=b'9' => Some(sum << 4 | u128::from(digit - b'0')),
        b'a'..=b'f' => Some(sum << 4 | u128::from(digit - b'a' + 10)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn context() -> Context {
        Context { trace: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, span: 0x00f0_67aa_0ba9_02b7 }
    }

    #[test]
    fn the_trace_is_continued_whatever_the_sampled_flag_says() {
        for flags in ["00", "01", "ff"] {
            assert_eq!(read(format!("00-{TRACE}-{SPAN}-{flags}").as_bytes()), Some(context()));
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known_and_ff_is_none() {
        for good in ["01-{}", "cc-{}-what-the-future-will-be-like", "fe-{}-"] {
            let value = good.replace("{}", &format!("{TRACE}-{SPAN}-01"));
            assert_eq!(read(value.as_bytes()), Some(context()), "{value}");
        }
        for bad in ["ff-{}", "00-{}-more", "01-{}more", "00-{} ", "0-{}", "zz-{}", "00{}", ""] {
            let value = bad.replace("{}", &format!("{TRACE}-{SPAN}-01"));
            assert_eq!(read(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn zeroes_capitals_and_what_is_too_short_are_ignored() {
        let (zero, capitals) = ("0".repeat(32), TRACE.to_uppercase());
        for value in [
            format!("00-{zero}-{SPAN}-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{capitals}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-0"),
            format!("00-{TRACE}-{SPAN}-0G"),
            format!("00-{TRACE}_{SPAN}-01"),
            format!("00-{}-{SPAN}0-01", TRACE.get(1..).unwrap()),
        ] {
            assert_eq!(read(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn of_two_none_counts() {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::try_from(format!("00-{TRACE}-{SPAN}-01")).unwrap();
        headers.append(TRACEPARENT, value.clone());
        assert_eq!(of(&headers), Some(context()));
        headers.append(TRACEPARENT, value);
        assert_eq!(of(&headers), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(value in proptest::collection::vec(any::<u8>(), 0..80)) {
            read(&value);
        }

        #[test]
        fn what_is_written_is_read_back(trace in 1u128.., span in 1u64..) {
            let context = Context { trace, span };
            prop_assert_eq!(read(context.header().unwrap().as_bytes()), Some(context));
        }
    }
}

//! What is done about a file that cannot be read, or holds nothing good?
//! Given what each look at it found, keeps the last good value and hands back whether there is something new to say.
//! Never opens a file itself, and never says the same fault twice in a row.

use std::fmt::Display;

use parking_lot::Mutex;

/// The fault of the last look, so that it is said once and not with every look.
#[derive(Debug, Default)]
pub struct LogOnce(String);

impl LogOnce {
    /// Whether this fault is to be said: it is another than that of the last look.
    pub fn is_new(&mut self, fault: impl Display) -> bool {
        let fault = fault.to_string();
        let is_new = !fault.is_empty() && fault != self.0;
        self.0 = fault;
        is_new
    }

    /// The last look found no fault: the next one is said, be it the same as before.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// What a file held when it last held something good: one that is being replaced, or was emptied by mistake, ends nothing.
#[derive(Debug)]
pub struct LastGood<T> {
    state: Mutex<(T, LogOnce)>,
}

impl<T: Clone> LastGood<T> {
    /// After a first look that found something good.
    pub fn new(good: T) -> Self {
        Self { state: Mutex::new((good, LogOnce::default())) }
    }

    /// What is good after one more look; `say` is called with a fault that is new.
    pub fn after<E: Display>(&self, look: Result<T, E>, say: impl FnOnce(&E)) -> T {
        let mut state = self.state.lock();
        match look {
            Ok(good) => *state = (good, LogOnce::default()),
            Err(fault) => {
                if state.1.is_new(&fault) {
                    say(&fault);
                }
            }
        }
        state.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_said_once_and_again_after_another_or_none() {
        let mut said = LogOnce::default();
        let says =
            |said: &mut LogOnce, faults: &[&str]| faults.iter().map(|fault| said.is_new(fault)).collect::<Vec<_>>();
        assert_eq!(says(&mut said, &["a", "a", "b", "a", "", "", "a"]), [true, false, true, true, false, false, true]);
        said.clear();
        assert!(said.is_new("a"));
    }

    #[test]
    fn the_last_good_value_outlives_every_fault_and_each_is_said_once() {
        let last = LastGood::new(1);
        let mut said = Vec::new();
        for (look, good) in [(Err("gone"), 1), (Err("gone"), 1), (Err("empty"), 1), (Ok(2), 2), (Err("empty"), 2)] {
            assert_eq!(last.after(look, |fault| said.push(*fault)), good);
        }
        assert_eq!(said, ["gone", "empty", "empty"]);
    }
}

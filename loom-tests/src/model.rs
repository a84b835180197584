//! The description of a model.

/// One model. `name` begins with the invariant that it checks.
#[derive(Clone, Copy)]
pub(crate) struct Model {
    pub(crate) name: &'static str,
    /// How many preemptions are explored; if not 3, with the reason.
    pub(crate) preemptions: usize,
    pub(crate) because: &'static str,
    /// Whether it is explored at two preemptions in the share that CI runs.
    pub(crate) large: bool,
    pub(crate) run: fn(),
}

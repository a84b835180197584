//! The models, by the operations that race. The name of each begins with the invariant that it checks.

use crate::model::Model;

mod claiming;
mod ending;
mod feeding;
mod reading;
mod reuse;
mod sums;
mod vanishing;
mod waiting;

/// Lists the models of a file: `name`; `name large` for a model that the share explores at two preemptions
/// only; or `name two "reason"` for one that is always explored at two preemptions.
macro_rules! models {
    ($($name:ident $($how:ident $($reason:literal)?)?),* $(,)?) => {
        pub(crate) const MODELS: &[crate::model::Model] = &[$(crate::models::model!($name $($how $($reason)?)?)),*];
    };
}

macro_rules! model {
    ($name:ident) => {
        crate::models::model!(@ $name, 3, "", false)
    };
    ($name:ident large) => {
        crate::models::model!(@ $name, 3, "", true)
    };
    ($name:ident two $reason:literal) => {
        crate::models::model!(@ $name, 2, $reason, false)
    };
    (@ $name:ident, $preemptions:expr, $because:expr, $large:expr) => {
        crate::model::Model {
            name: stringify!($name),
            preemptions: $preemptions,
            because: $because,
            large: $large,
            run: $name,
        }
    };
}

use {model, models};

pub(crate) fn all() -> impl Iterator<Item = Model> {
    [
        reading::MODELS,
        ending::MODELS,
        waiting::MODELS,
        reuse::MODELS,
        claiming::MODELS,
        feeding::MODELS,
        vanishing::MODELS,
        sums::MODELS,
    ]
    .into_iter()
    .flatten()
    .copied()
}

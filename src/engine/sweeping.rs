//! Lists that are swept when they have doubled (I9).

/// How many entries a list may have room for beyond a multiple of those that it holds.
pub(crate) const SLACK: usize = 1024;

/// A list, and the length at which its useless entries are swept out: twice what was left the last time, so a
/// sweep examines each entry about once.
#[derive(Default)]
pub(crate) struct Sweeping<L> {
    pub(crate) list: L,
    pub(crate) sweep_at: usize,
}

/// Drops the useless entries if the list has doubled, and returns the memory of a peak. The two kinds of list
/// have the same methods, but no trait for them.
macro_rules! tidy {
    ($sweeping:expr, $is_wanted:expr) => {
        let $crate::engine::sweeping::Sweeping { list, sweep_at } = $sweeping;
        if list.len() > *sweep_at {
            list.retain($is_wanted);
            *sweep_at = 2 * list.len() + $crate::engine::sweeping::SLACK;
        }
        if list.capacity() > 4 * list.len() + $crate::engine::sweeping::SLACK {
            list.shrink_to(2 * list.len() + $crate::engine::sweeping::SLACK);
        }
    };
}

pub(crate) use tidy;

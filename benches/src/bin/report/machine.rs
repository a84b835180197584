//! The machine of a measurement.

use std::fs;
use std::process::Command;

use inflight_benches::harness::cores;

use crate::results::Run;
use crate::scale::Scale;

/// The machine as it is now.
pub(crate) fn describe(scale: &Scale) -> Run {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let processor = model.map_or("unknown", |(_, name)| name.trim()).to_owned();
    let cache = |index: usize| {
        let of = |what: &str| read(&format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{what}"));
        let (level, kind, size) = (of("level"), of("type"), of("size"));
        (!size.is_empty() && kind.trim() != "Instruction")
            .then(|| format!("L{} {}", level.trim(), size.trim()))
    };
    let caches: Vec<String> = (0..4).filter_map(cache).collect();
    let huge_pages = read("/sys/kernel/mm/transparent_hugepage/enabled");
    let huge_pages =
        huge_pages.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(word, _)| word);
    let load = read("/proc/loadavg");
    let rustc = Command::new("rustc").arg("--version").output();
    let rustc = rustc.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    Run {
        effort: scale.thoroughness.word().to_owned(),
        repeats: scale.effort.repeats,
        seconds: 0.0,
        cores: cores(),
        processor,
        caches: caches.join(", "),
        huge_pages: huge_pages.unwrap_or("unknown").to_owned(),
        load_before: load.split_whitespace().next().unwrap_or("unknown").to_owned(),
        rustc: rustc.unwrap_or_default(),
    }
}

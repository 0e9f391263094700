//! Runs the graded suite and tells what it is worth: `graded [category …] [--json] [--log FILE]`.
//!
//! Exit codes: 0 for all points, 1 for fewer, 2 for a category or a flag that there is not.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tests::graded::{
    Category, CategoryResult, Stage, TestResult, chosen, json, print_progress, print_summary, run, suite,
};

/// Lines of each server's log that a failed test is explained with.
const SERVER_LINES: usize = 20;

/// What the command line asks for.
#[derive(Default)]
struct Wanted {
    categories: Vec<String>,
    json: bool,
    log: Option<PathBuf>,
}

fn main() -> io::Result<ExitCode> {
    let chosen = read_arguments(std::env::args().skip(1)).and_then(|wanted| {
        let unknown = |name| format!("Unknown test module: {name}");
        Ok((chosen(&wanted.categories).map_err(unknown)?, wanted))
    });
    let (categories, wanted) = match chosen {
        Ok(chosen) => chosen,
        Err(message) => {
            let names: Vec<&str> = suite().iter().map(|category| category.name).collect();
            eprintln!(
                "{message}\nUsage: graded [category …] [--json] [--log FILE]\nCategories: {}",
                names.join(", ")
            );
            return Ok(ExitCode::from(2));
        }
    };
    let path = wanted.log.unwrap_or_else(default_log);
    let log = create(&path)?;
    let mut out: Box<dyn Write> = if wanted.json { Box::new(io::sink()) } else { Box::new(io::stdout()) };
    writeln!(out, "Running tests (detailed logs saved to {})\n{}", path.display(), "-".repeat(60))?;
    let mut results = Vec::with_capacity(categories.len());
    for category in &categories {
        results.push(run_category(category, &mut out, &log)?);
    }
    print_summary(&mut out, &results)?;
    if wanted.json {
        println!("{:#}", json(&results));
    }
    let is_full = results.iter().all(|result| result.earned() == result.points);
    Ok(if is_full { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read_arguments(mut arguments: impl Iterator<Item = String>) -> Result<Wanted, String> {
    let mut wanted = Wanted::default();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => wanted.json = true,
            "--log" => wanted.log = Some(arguments.next().ok_or("--log needs a file")?.into()),
            flag if flag.starts_with('-') => return Err(format!("Unknown flag: {flag}")),
            _ => wanted.categories.push(argument),
        }
    }
    Ok(wanted)
}

/// In the folder of what is built, so that nothing is left among the sources.
fn default_log() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    program.parent().unwrap_or(Path::new("")).join("run_tests_log.txt")
}

/// Opens the log; what tests panic with goes there, instead of between the results.
fn create(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let log = File::create(path)?;
    let for_panics = log.try_clone()?;
    std::panic::set_hook(Box::new(move |panic| {
        // There is nobody else to tell.
        let _ = writeln!(&for_panics, "    {panic}");
    }));
    Ok(log)
}

fn run_category(category: &Category, out: &mut impl Write, log: &File) -> io::Result<CategoryResult> {
    writeln!(out, "{}:", category.title)?;
    out.flush()?;
    writeln!(&*log, "{}:", category.title)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let mut stage = Stage::start(category.nodes);
    let mut told: io::Result<()> = Ok(());
    let mut tell = |test: &TestResult| {
        print_progress(out, test)?;
        let verdict = if test.failure.is_none() { "Pass" } else { "Fail" };
        writeln!(&*log, "  {} {verdict} ({:?})", test.title, test.took)
    };
    let result = runtime.block_on(run(category, &mut stage, |test| {
        if told.is_ok() {
            told = tell(test);
        }
    }));
    told?;
    writeln!(out, "  Summary: {}/{} tests passed\n", result.passed(), result.tests.len())?;
    if result.passed() < result.tests.len() {
        writeln!(&*log, "{}", stage.log_tails(SERVER_LINES))?;
    }
    Ok(result)
}

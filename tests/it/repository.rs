//! The repository's own files, as data for the tests of the house rules.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A text file under version control.
#[derive(Debug)]
pub struct TextFile {
    /// Path from the root, with `/`.
    pub path: String,
    /// Its content.
    pub text: String,
}

/// Folders that no clone contains; only looked at where there is no git to ask.
const NOT_SOURCE: [&str; 7] = [
    ".git",
    "target",
    "node_modules",
    "__pycache__",
    "ruche-data",
    "ruche-keys",
    ".venv",
];

/// The root of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this package lies in a folder of the workspace")
        .into()
}

/// Paths of all files under version control, from the root; of all files where this is no git checkout.
pub fn paths() -> Vec<String> {
    let root = root();
    let mut paths = tracked(&root).unwrap_or_else(|| walk(&root));
    // A file can be gone from the folder and not yet from git's index.
    paths.retain(|path| root.join(path).is_file());
    paths.sort();
    assert!(
        paths.iter().any(|path| path == "Cargo.toml"),
        "no files found below {}",
        root.display()
    );
    paths
}

/// All files under version control that are UTF-8 text.
pub fn texts() -> Vec<TextFile> {
    let root = root();
    let read = |path: String| {
        let bytes = fs::read(root.join(&path)).unwrap_or_else(|problem| panic!("{path}: {problem}"));
        String::from_utf8(bytes).ok().map(|text| TextFile { path, text })
    };
    paths().into_iter().filter_map(read).collect()
}

/// What stands under `#[cfg(test)]` in a source text.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TestParts {
    /// Index of the line where a module of tests begins that stands in the file itself; it runs to the end.
    pub inline_from: Option<usize>,
    /// Names of test modules that are files of their own.
    pub modules: Vec<String>,
}

/// Finds the test modules a source declares; other items under `#[cfg(test)]` count as ordinary code.
pub fn test_parts(source: &str) -> TestParts {
    let mut parts = TestParts::default();
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    for (index, _) in lines
        .iter()
        .enumerate()
        .filter(|(_, line)| line.starts_with("#[cfg(test)]"))
    {
        let item = lines[index + 1..]
            .iter()
            .find(|line| !line.starts_with("#["))
            .unwrap_or(&"");
        let Some(module) = item
            .strip_prefix("mod ")
            .or_else(|| Some(item.split_once(" mod ")?.1))
        else {
            continue;
        };
        if let Some(name) = module.strip_suffix(';') {
            parts.modules.push(name.to_owned());
        } else if parts.inline_from.is_none() {
            parts.inline_from = Some(index);
        }
    }
    parts
}

/// Fails with all findings, one per line.
pub fn assert_none(rule: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{rule}:\n  {}\n", findings.join("\n  "));
}

fn tracked(root: &Path) -> Option<Vec<String>> {
    let output = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root)
        .output()
        .ok()?;
    if !output.status.success() {
        return None;
    }
    let list = String::from_utf8(output.stdout).ok()?;
    let paths: Vec<String> = list.split_terminator('\0').map(str::to_owned).collect();
    // An unpacked archive inside somebody else's checkout: git answers, and knows none of our files.
    (!paths.is_empty()).then_some(paths)
}

fn walk(root: &Path) -> Vec<String> {
    let mut paths = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(root.join(&folder)).expect("a folder of the repository can be read");
        for entry in entries {
            let entry = entry.expect("a folder of the repository can be read");
            let name = entry.file_name();
            let path = folder.join(&name);
            if entry.file_type().expect("a file has a type").is_dir() {
                if !NOT_SOURCE.iter().any(|ignored| name == *ignored) {
                    folders.push(path);
                }
            } else {
                paths.push(path.to_string_lossy().replace('\\', "/"));
            }
        }
    }
    paths
}

#[test]
fn without_git_the_walk_finds_every_tracked_file() {
    let walked = walk(&root());
    for path in paths() {
        assert!(walked.contains(&path), "{path} is tracked and was not walked to");
    }
    assert!(
        !walked
            .iter()
            .any(|path| path.starts_with("target/") || path.starts_with(".git/"))
    );
}

#[test]
fn test_modules_are_told_from_the_code_around_them() {
    let declared = "mod a;\n#[cfg(test)]\npub(crate) mod testdata;\nmod b;\n#[cfg(test)]\nuse x;\n";
    let parts = TestParts {
        inline_from: None,
        modules: vec!["testdata".to_owned()],
    };
    assert_eq!(test_parts(declared), parts);
    let inline = "fn f() {}\n#[cfg(test)]\n#[allow(x)]\nmod tests {\n}\n";
    assert_eq!(
        test_parts(inline),
        TestParts {
            inline_from: Some(1),
            modules: Vec::new()
        }
    );
}

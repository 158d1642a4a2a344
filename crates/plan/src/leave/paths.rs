//! Paths as the other tool counts them: a bake file's Dockerfile is found from its context.

/// `path` as it is called from the folder `from`; both from one place, or both absolute.
pub(super) fn relative(path: &str, from: &str) -> String {
    if path.starts_with('/') {
        return path.to_owned();
    }
    let (path, from) = (parts(path), parts(from));
    let same = path.iter().zip(&from).take_while(|(a, b)| a == b).count();
    let up = from[same..].iter().map(|_| "..");
    let way: Vec<&str> = up.chain(path[same..].iter().copied()).collect();
    if way.is_empty() { ".".to_owned() } else { way.join("/") }
}

/// The words of a path, without what leads nowhere.
fn parts(path: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts
}

/// The folder of a file.
pub(super) fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or(".", |(folder, _)| if folder.is_empty() { "/" } else { folder })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_told_from_another_folder() {
        let table = [
            ("Dockerfile", ".", "Dockerfile"),
            ("a/b/Dockerfile", ".", "a/b/Dockerfile"),
            ("a/b/Dockerfile", "a/b", "Dockerfile"),
            ("a/b/Dockerfile", "a", "b/Dockerfile"),
            ("docker/Dockerfile.x", "app", "../docker/Dockerfile.x"),
            ("docker/Dockerfile.x", "app/src", "../../docker/Dockerfile.x"),
            ("./a/../b/Dockerfile", "./b/", "Dockerfile"),
            ("../x/Dockerfile", "../x", "Dockerfile"),
            ("/x/Dockerfile", "y", "/x/Dockerfile"),
        ];
        for (path, from, expected) in table {
            assert_eq!(relative(path, from), expected, "{path} from {from}");
        }
    }

    #[test]
    fn a_file_is_in_a_folder() {
        for (path, expected) in [("a/b", "a"), ("a", "."), ("/a", "/")] {
            assert_eq!(folder(path), expected);
        }
    }
}

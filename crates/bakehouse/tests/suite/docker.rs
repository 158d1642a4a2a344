//! `--load`: what a Docker Engine gets, and what is said when there is none.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::{self, JoinHandle};

use crate::place::{Place, Tree};

/// An engine that takes one image and answers so; gives the archive that it got.
fn engine(place: &mut Place, answer: &'static str) -> JoinHandle<Vec<u8>> {
    let socket = place.path("docker.sock");
    place.set("DOCKER_HOST", format!("unix://{}", socket.display()));
    let listener = UnixListener::bind(socket).unwrap();
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let body = read_request(&stream);
        let head = format!("HTTP/1.1 {answer}");
        (&stream).write_all(head.as_bytes()).unwrap();
        body
    })
}

/// The body of a request to load an image.
fn read_request(stream: &UnixStream) -> Vec<u8> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert!(line.starts_with("POST /images/load"), "{line}");
    while line.trim() != "" {
        line.clear();
        reader.read_line(&mut line).unwrap();
    }
    let mut body = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line).unwrap();
        let size = u64::from_str_radix(line.trim(), 16).unwrap();
        reader.by_ref().take(size).read_to_end(&mut body).unwrap();
        line.clear();
        reader.read_line(&mut line).unwrap();
        if size == 0 {
            return body;
        }
    }
}

const TAKEN: &str =
    "200 OK\r\nContent-Type: application/json\r\n\r\n{\"stream\":\"Loaded image\"}\n";

fn write_repo(place: &Place) {
    place.write("Dockerfile", "FROM machine-base\nRUN echo x >/x\n");
}

#[test]
fn an_engine_gets_the_image_under_its_names() {
    let Some(mut place) = Place::that_builds() else { return };
    write_repo(&place);
    let engine = engine(&mut place, TAKEN);
    let told = place.build(&["--load", "-t", "example.test/app:1", "-t", "app:2"]);
    told.ok();
    let archive = Tree::read(engine.join().unwrap().as_slice());
    let manifest: serde_json::Value =
        serde_json::from_slice(&archive.at("manifest.json").content).unwrap();
    let tags: Vec<&str> =
        manifest[0]["RepoTags"].as_array().unwrap().iter().filter_map(|t| t.as_str()).collect();
    assert!(tags.contains(&"example.test/app:1"), "{tags:?}");
    assert!(tags.iter().any(|tag| tag.ends_with("app:2")), "{tags:?}");
    assert_eq!(manifest[0]["Layers"].as_array().unwrap().len(), 2);
}

#[test]
fn what_an_engine_refuses_is_said_in_its_words() {
    let refusals = [
        "500 Internal Server Error\r\n\r\n{\"message\":\"no space for it\"}",
        "200 OK\r\n\r\n{\"errorDetail\":{\"message\":\"no space for it\"},\"error\":\"no space for it\"}\n",
    ];
    for refusal in refusals {
        let Some(mut place) = Place::that_builds() else { return };
        write_repo(&place);
        let engine = engine(&mut place, refusal);
        place.build(&["--load", "-t", "app:1"]).exits(4).says(&["no space for it", "docker.sock"]);
        engine.join().unwrap();
        place.build(&[]).ok().says(&["1 image up to date"]);
    }
}

#[test]
fn an_engine_that_is_not_there_is_told_with_its_address() {
    let Some(mut place) = Place::that_builds() else { return };
    write_repo(&place);
    for host in ["unix:///nowhere/docker.sock", "tcp://127.0.0.1:1", "ssh://nowhere"] {
        place.set("DOCKER_HOST", host);
        place.build(&["--load", "-t", "app:1"]).exits(4).says(&[host, "DOCKER_HOST"]);
    }
}

//! `RUN --mount`.

use bakehouse_model::op::Sharing;
use bakehouse_plan::dockerfile::words::{Lexer, WordError};
use bakehouse_plan::dockerfile::{Mount, MountType, mount_from, parse, parse_mount};
use std::collections::BTreeMap;

fn mount(text: &str) -> Result<Mount, String> {
    let mut env = BTreeMap::new();
    for (name, value) in [("KIND", "cache"), ("DIR", "/d"), ("YES", "true"), ("ID", "x")] {
        env.insert(name.to_owned(), value.to_owned());
    }
    let mut expand = |word: &str| -> Result<String, WordError> {
        Lexer::new('\\').expand(word, &env).map(|expanded| expanded.text)
    };
    parse_mount(text, &mut expand).map_err(|error| error.to_string())
}

#[test]
fn each_field_is_read_under_each_of_its_names() {
    let found = mount("type=bind,from=stage,source=/s,target=/t").unwrap();
    assert_eq!((found.kind, found.from.as_deref()), (MountType::Bind, Some("stage")));
    assert_eq!((found.source.as_str(), found.target.as_str()), ("/s", "/t"));
    for name in ["target", "dst", "destination", "TARGET"] {
        assert_eq!(mount(&format!("{name}=$DIR/e")).unwrap().target, "/d/e");
    }
    for name in ["source", "src", "Source"] {
        assert_eq!(mount(&format!("{name}=$DIR")).unwrap().source, "/d");
    }
    assert_eq!(mount("from=").unwrap().from, None);
    let found = mount("type=$KIND,id=$ID,sharing=locked,mode=0777,uid=1,gid=2").unwrap();
    assert_eq!((found.kind, found.id.as_deref()), (MountType::Cache, Some("x")));
    assert_eq!(found.sharing, Some(Sharing::Locked));
    assert_eq!((found.mode, found.uid, found.gid), (Some(0o777), Some(1), Some(2)));
    let found = mount("type=tmpfs,size=64m,target=/t").unwrap();
    assert_eq!((found.kind, found.size), (MountType::Tmpfs, 64 << 20));
    let found = mount("type=secret,id=a,env=TOKEN,required").unwrap();
    assert_eq!((found.kind, found.env.as_deref()), (MountType::Secret, Some("TOKEN")));
    assert!(found.required);
    assert_eq!(mount("type=secret,id=a,env=").unwrap().env.as_deref(), Some(""));
    assert_eq!(mount("type=ssh").unwrap().kind, MountType::Ssh);
    assert_eq!(mount("\"target=/a,b\"").unwrap().target, "/a,b");
    assert_eq!(
        mount("\"target=/a\"\"b\"").unwrap_err(),
        "failed to process \"/a\\\"b\": \
        unexpected end of statement while looking for matching double-quote"
    );
}

#[test]
fn a_mount_is_read_only_unless_its_kind_or_a_field_says_otherwise() {
    let table = [
        ("type=bind", true),
        ("target=/x", true),
        ("type=secret,id=a", true),
        ("type=ssh", true),
        ("type=cache", false),
        ("type=tmpfs", false),
        ("type=bind,rw", false),
        ("type=bind,readwrite", false),
        ("type=bind,rw=true", false),
        ("type=bind,rw=false", true),
        ("type=bind,rw=$YES", false),
        ("type=bind,ro=false", false),
        ("type=bind,readonly=0", false),
        ("type=cache,ro", true),
        ("type=cache,readonly", true),
        ("type=cache,RO=T", true),
        ("type=bind,ro,rw", false),
        ("type=bind,rw,ro", true),
    ];
    for (text, expected) in table {
        assert_eq!(mount(text).unwrap().readonly, expected, "{text}");
    }
}

#[test]
fn a_mount_that_is_wrong_says_why() {
    let table = [
        ("type=volume", "unsupported mount type \"volume\""),
        ("type=", "unsupported mount type \"\""),
        ("type=cache,sharing=public", "unsupported sharing value \"public\""),
        ("nonsense", "invalid field `nonsense` must be a key=value pair"),
        ("", "failed to parse csv mounts: EOF"),
        ("type=bind,", "invalid field `` must be a key=value pair"),
        ("typ=bind", "unexpected key `typ` in `typ=bind`"),
        ("type=bind,required", "unexpected key `required` for mount type `bind`"),
        ("type=bind,required=true", "unexpected key `required` for mount type `bind`"),
        ("required,type=secret,id=a", "unexpected key `required` for mount type `bind`"),
        ("type=cache,size=1", "unexpected key `size` for mount type `cache`"),
        ("type=tmpfs,size=big", "invalid value for size: big"),
        ("type=bind,ro=maybe", "invalid value for ro: maybe"),
        ("type=secret,id=a,required=2", "invalid value for required: 2"),
        ("type=cache,mode=9", "invalid value for mode: 9"),
        ("type=cache,mode=-1", "invalid value for mode: -1"),
        ("type=cache,uid=root", "invalid value for uid: root"),
        ("type=cache,gid=+1", "invalid value for gid: +1"),
        ("type=cache,uid=4294967296", "invalid value for uid: 4294967296"),
        ("type=bind,uid=1", "uid not allowed for \"bind\" type mounts"),
        ("type=tmpfs,mode=1", "mode not allowed for \"tmpfs\" type mounts"),
        ("type=bind,gid=1", "gid not allowed for \"bind\" type mounts"),
        ("type=secret", "invalid secret mount. one of source, target required"),
        ("type=secret,from=a,id=b", "secret mount should not have a from"),
        ("type=secret,id=a,sharing=locked", "secret mount should not define sharing"),
        ("type=secret,id=a,src=b", "both source and id can't be set"),
        ("type=bind,sharing=shared", "invalid cache sharing set for bind mount"),
        ("type=ssh,sharing=locked", "invalid cache sharing set for ssh mount"),
        ("target=a\"b", "failed to parse csv mounts: bare \" in non-quoted field"),
        ("\"target=a", "failed to parse csv mounts: extraneous or missing \" in quoted-field"),
        ("\"target=a\"b", "failed to parse csv mounts: extraneous or missing \" in quoted-field"),
        ("target=${DIR", "failed to process \"${DIR\": syntax error: missing '}'"),
    ];
    for (text, expected) in table {
        assert_eq!(mount(text).unwrap_err(), expected, "{text}");
    }
}

#[test]
fn the_stage_of_a_mount_is_known_before_variables_are() {
    let table = [
        ("type=bind,from=a,target=$b", Some("a")),
        ("From=a", Some("a")),
        ("from=a,from=b", Some("b")),
        ("from=", None),
        ("type=cache", None),
        ("", None),
    ];
    for (text, expected) in table {
        assert_eq!(mount_from(text).as_deref(), expected, "{text}");
    }
}

#[test]
fn only_form_and_stage_are_checked_with_the_file() {
    let table = [
        ("type=$kind,target=$dir", None),
        ("type=nonsense", None),
        ("whatever", None),
        ("from=a$", None),
        ("from=$a", Some("`from` doesn't support variable expansion, define alias stage instead")),
        (
            "from=x${a}",
            Some("`from` doesn't support variable expansion, define alias stage instead"),
        ),
        ("", Some("failed to parse csv mounts: EOF")),
    ];
    for (text, expected) in table {
        let file = format!("FROM a\nRUN --mount={text} x");
        let parsed = parse(file.as_bytes(), "f");
        let found: Vec<&str> = parsed.diagnostics.iter().map(|d| d.message.as_str()).collect();
        assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{text}");
    }
}

//! Dockerfiles that are made to take their base: what is changed, and that nothing else is.

use bakehouse_plan::convert::{Unconverted, convert, variable};
use bakehouse_plan::dockerfile::parse;
use bakehouse_plan::fleet::Described;
use proptest::prelude::*;

use crate::lint::fleet_of;

fn converted(text: &str, target: Option<&str>) -> String {
    let conversion = convert(text.as_bytes(), target, "BASE_IMAGE");
    let conversion = conversion.unwrap_or_else(|why| panic!("{why}: {text}"));
    String::from_utf8(conversion.text).unwrap()
}

#[test]
fn the_base_becomes_the_default_of_an_argument_and_all_else_stays() {
    let table = [
        ("FROM x", "ARG BASE_IMAGE=x\nFROM ${BASE_IMAGE}"),
        ("FROM x AS y\nRUN z\n", "ARG BASE_IMAGE=x\nFROM ${BASE_IMAGE} AS y\nRUN z\n"),
        ("FROM x\r\nRUN z\r\n", "ARG BASE_IMAGE=x\r\nFROM ${BASE_IMAGE}\r\nRUN z\r\n"),
        ("\u{feff}FROM x\n", "\u{feff}ARG BASE_IMAGE=x\nFROM ${BASE_IMAGE}\n"),
        ("from x as y\n", "arg BASE_IMAGE=x\nfrom ${BASE_IMAGE} as y\n"),
        (
            "FROM  --platform=$BUILDPLATFORM\tr:5000/x:1@sha256:0  AS  y  \n",
            "ARG BASE_IMAGE=r:5000/x:1@sha256:0\nFROM  --platform=$BUILDPLATFORM\t${BASE_IMAGE}  AS  y  \n",
        ),
        // Both stages of one base, and no other.
        (
            "FROM x AS b\nFROM z AS c\nFROM x\nCOPY --from=b /a /a\nCOPY --from=c /a /a\n",
            "ARG BASE_IMAGE=x\nFROM ${BASE_IMAGE} AS b\nFROM z AS c\nFROM ${BASE_IMAGE}\nCOPY --from=b /a /a\nCOPY --from=c /a /a\n",
        ),
        // A stage that is called like the base is a stage.
        ("FROM x AS x\nFROM x\n", "ARG BASE_IMAGE=x\nFROM ${BASE_IMAGE} AS x\nFROM x\n"),
        // Stages that are not reached do not choose.
        (
            "FROM old AS unused\nFROM x\n",
            "ARG BASE_IMAGE=x\nFROM old AS unused\nFROM ${BASE_IMAGE}\n",
        ),
        (
            "FROM scratch AS s\nFROM x\nCOPY --from=0 /a /a\n",
            "ARG BASE_IMAGE=x\nFROM scratch AS s\nFROM ${BASE_IMAGE}\nCOPY --from=0 /a /a\n",
        ),
        // After arguments that are there.
        (
            "ARG V=1\n\n# The base.\nFROM x:$V\n",
            "ARG V=1\nARG BASE_IMAGE=x:$V\n\n# The base.\nFROM ${BASE_IMAGE}\n",
        ),
        ("ARG A \\\n  B=2\nFROM x\n", "ARG A \\\n  B=2\nARG BASE_IMAGE=x\nFROM ${BASE_IMAGE}\n"),
        // Comments right above belong to the `FROM`, directives stay first.
        (
            "# syntax=docker/dockerfile:1\n# About it.\nFROM x\n",
            "# syntax=docker/dockerfile:1\nARG BASE_IMAGE=x\n# About it.\nFROM ${BASE_IMAGE}\n",
        ),
        (
            "#!/usr/bin/env x\n# syntax=docker/dockerfile:1\nFROM x\n",
            "#!/usr/bin/env x\n# syntax=docker/dockerfile:1\nARG BASE_IMAGE=x\nFROM ${BASE_IMAGE}\n",
        ),
        (
            "# Licence.\n\n# About it.\nFROM x\n",
            "# Licence.\n\nARG BASE_IMAGE=x\n# About it.\nFROM ${BASE_IMAGE}\n",
        ),
        (
            "# check=skip=StageNameCasing\n\n# check=skip=FromAsCasing\n\nFROM x as Y\n",
            "# check=skip=StageNameCasing\nARG BASE_IMAGE=x\n\n# check=skip=FromAsCasing\n\nFROM ${BASE_IMAGE} as Y\n",
        ),
        (
            "# escape=`\nFROM `\n  # why\n  x `\n  AS y\n",
            "# escape=`\nARG BASE_IMAGE=x\nFROM `\n  # why\n  ${BASE_IMAGE} `\n  AS y\n",
        ),
        ("FROM x\\\n AS y\n", "ARG BASE_IMAGE=x\nFROM ${BASE_IMAGE}\\\n AS y\n"),
        (
            "FROM x\nRUN <<EOF\nFROM x\nEOF\n",
            "ARG BASE_IMAGE=x\nFROM ${BASE_IMAGE}\nRUN <<EOF\nFROM x\nEOF\n",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(converted(text, None), expected, "{text:?}");
    }
    let two = "FROM x AS a\nFROM y AS b\n";
    assert_eq!(
        converted(two, Some("a")),
        "ARG BASE_IMAGE=x\nFROM ${BASE_IMAGE} AS a\nFROM y AS b\n"
    );
}

#[test]
fn what_cannot_or_need_not_be_changed_is_left_and_says_why() {
    let taken = || Unconverted::Taken("BASE_IMAGE".to_owned());
    let table = [
        ("ARG BASE_IMAGE=x\nFROM ${BASE_IMAGE}\n", Unconverted::Already("BASE_IMAGE".to_owned())),
        ("ARG PY=x\nFROM $PY AS y\n", Unconverted::Already("PY".to_owned())),
        ("ARG PY\nFROM ${PY:-x}\n", Unconverted::Already("PY".to_owned())),
        ("FROM scratch\nCOPY a b\n", Unconverted::NoBase),
        ("ARG BASE_IMAGE=y\nFROM x\n", taken()),
        ("FROM x\nARG BASE_IMAGE\n", taken()),
        ("FROM x\nRUNN y\n", Unconverted::Broken),
        ("", Unconverted::Broken),
        ("FROM x\\\ny\n", Unconverted::ByHand(1)),
    ];
    for (text, expected) in table {
        assert_eq!(convert(text.as_bytes(), None, "BASE_IMAGE"), Err(expected), "{text:?}");
    }
    assert_eq!(convert(b"FROM x", Some("y"), "B"), Err(Unconverted::NoStage("y".to_owned())));
    for name in ["", "1A", "A-B", "TARGETPLATFORM", "http_proxy", "A B", "A\nRUN x"] {
        let bad = Err(Unconverted::BadName(name.to_owned()));
        assert_eq!(convert(b"FROM x", None, name), bad, "{name:?}");
    }
    assert_eq!(variable("${A}/b"), None);
}

#[test]
fn a_converted_image_stands_on_what_it_stood_on() {
    let app =
        "ARG V=1\nFROM base AS b\nFROM x:$V\nCOPY --from=b /a /a\nFROM base\nCOPY --from=1 /a /a\n";
    let edges = |text: &str| {
        let fleet = fleet_of(
            &[("app/Dockerfile", text), ("base/Dockerfile", "FROM y")],
            Described::default(),
        );
        assert!(!fleet.has_errors(), "{:?}", fleet.diagnostics);
        let app = fleet.image("app").unwrap();
        let needs: Vec<String> = app.needs.iter().map(|edge| edge.image.clone()).collect();
        let external: Vec<String> = app.external.iter().map(|e| e.reference.clone()).collect();
        (needs, external)
    };
    assert_eq!(edges(app), edges(&converted(app, None)));
}

const HANDED: &str = "${BASE_IMAGE}";

const PIECES: &[&str] = &[
    "FROM x\n",
    "FROM x AS b\n",
    "FROM --platform=linux/amd64 y:1 AS C\r\n",
    "FROM b\n",
    "from scratch\n",
    "ARG V=1\n",
    "ARG BASE_IMAGE\n",
    "# comment\n",
    "# check=skip=all\n",
    "# syntax=docker/dockerfile:1\n",
    "# escape=`\n",
    "\n",
    "RUN a \\\n  b\n",
    "RUN <<EOF\nFROM x\nEOF\n",
    "COPY --from=b /a /a\n",
    "COPY --from=0 /a /a\n",
    "FROM `\n x\n",
    "FROM \\\n x\n",
    "\u{feff}",
    "FROM ${V}\n",
    "FROM x:$V",
];

proptest! {
    #[test]
    fn whatever_is_converted_says_the_same_with_the_base_as_an_argument(
        pieces in prop::collection::vec(prop::sample::select(PIECES), 0..9)
    ) {
        let text = pieces.concat();
        let before = parse(text.as_bytes(), "");
        let Ok(conversion) = convert(text.as_bytes(), None, "BASE_IMAGE") else { return Ok(()) };
        let after = parse(&conversion.text, "");
        prop_assert_eq!(before.dockerfile.stages.len(), after.dockerfile.stages.len());
        for (old, new) in before.dockerfile.stages.iter().zip(&after.dockerfile.stages) {
            prop_assert_eq!(&old.name, &new.name);
            prop_assert_eq!(&old.platform, &new.platform);
            let is_handed = old.base == conversion.base && new.base == HANDED;
            prop_assert!(old.base == new.base || is_handed);
            let kinds = |stage: &bakehouse_plan::dockerfile::Stage| {
                stage.instructions.iter().map(|i| i.kind.clone()).collect::<Vec<_>>()
            };
            prop_assert_eq!(kinds(old), kinds(new));
        }
        let again = convert(&conversion.text, None, "BASE_IMAGE");
        prop_assert_eq!(again, Err(Unconverted::Already("BASE_IMAGE".to_owned())));
        // Taking the new line out and the argument back gives the old file.
        let whole = String::from_utf8(conversion.text).unwrap();
        let declaration = whole.split_inclusive('\n').find(|line| line.contains("BASE_IMAGE=")).unwrap();
        let line = declaration.trim_start_matches('\u{feff}');
        let back = whole.replacen(line, "", 1).replace(HANDED, &conversion.base);
        prop_assert_eq!(back, text);
    }
}

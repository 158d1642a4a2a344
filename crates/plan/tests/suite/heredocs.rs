//! Here-documents: which words announce one, where it ends, what becomes of it.

use bakehouse_plan::dockerfile::{Command, Instruction, InstructionKind, Script, parse};

fn instructions(text: &str) -> Vec<Instruction> {
    let parsed = parse(format!("FROM a\n{text}").as_bytes(), "Dockerfile");
    assert!(!parsed.has_errors(), "{text:?}: {:?}", parsed.diagnostics);
    parsed.dockerfile.stages.into_iter().flat_map(|stage| stage.instructions).collect()
}

/// Name, body, whether variables are expanded, whether tabs go, descriptor.
type Facts = (&'static str, &'static str, bool, bool, u64);

#[test]
fn a_document_ends_at_its_name() {
    let table: &[(&str, &[Facts])] = &[
        ("RUN ls", &[]),
        ("RUN <<EMPTY\nEMPTY\n", &[("EMPTY", "", true, false, 0)]),
        ("RUN 3<<EMPTY\nEMPTY\n", &[("EMPTY", "", true, false, 3)]),
        ("RUN \"<<NONE\"", &[]),
        ("RUN '<<NONE'", &[]),
        ("RUN \\<<NONE", &[]),
        ("RUN [\"<<NONE\"]", &[]),
        ("RUN x<<NONE", &[]),
        ("RUN <<<here", &[]),
        ("RUN << ", &[]),
        ("RUN echo $((1<<2))", &[]),
        ("RUN <<A\n\tfoo\n\tbar\nA\n", &[("A", "\tfoo\n\tbar\n", true, false, 0)]),
        ("RUN <<-A\n\tfoo\n\tA\n", &[("A", "\tfoo\n", true, true, 0)]),
        ("RUN <<-A\n  A\nA\n", &[("A", "  A\n", true, true, 0)]),
        ("RUN <<A\n\tA\nA\n", &[("A", "\tA\n", true, false, 0)]),
        ("RUN <<'A'\n$x\nA\n", &[("A", "$x\n", false, false, 0)]),
        ("RUN <<\"A\"\n$x\nA\n", &[("A", "$x\n", false, false, 0)]),
        ("RUN <<-'A'\n$x\nA\n", &[("A", "$x\n", false, true, 0)]),
        ("RUN <<a'b'\nx\nab\n", &[("ab", "x\n", false, false, 0)]),
        ("RUN <<a\\'b\nx\na'b\n", &[("a'b", "x\n", true, false, 0)]),
        ("RUN <<'a'\\'b\nx\na'b\n", &[("a'b", "x\n", false, false, 0)]),
        ("RUN <<'one two'\nx\none two\n", &[("one two", "x\n", false, false, 0)]),
        ("RUN <<$A\n$A\n", &[("$A", "", true, false, 0)]),
        ("RUN <<  A\nA\n", &[("A", "", true, false, 0)]),
        ("RUN <<  A  > x\nA\n", &[("A", "", true, false, 0)]),
        (
            "RUN <<A\n# no comment\n\n FROM x\nA\n",
            &[("A", "# no comment\n\n FROM x\n", true, false, 0)],
        ),
        ("RUN <<A\nx \\\nA\n", &[("A", "x \\\n", true, false, 0)]),
        ("RUN <<A\nx\r\nA\r\n", &[("A", "x\r\n", true, false, 0)]),
        ("RUN <<A\nx\nA", &[("A", "x\n", true, false, 0)]),
        ("RUN --mount=type=cache,target=/x <<A\nx\nA", &[("A", "x\n", true, false, 0)]),
        (
            "RUN cat <<A <<B\n1\nA\n2\nB\n",
            &[("A", "1\n", true, false, 0), ("B", "2\n", true, false, 0)],
        ),
        (
            "RUN <<X <<Y\nY\nX\nX\nY\n",
            &[("X", "Y\n", true, false, 0), ("Y", "X\n", true, false, 0)],
        ),
        ("RUN python3 <<A 5<<-B\nA\nB\n", &[("A", "", true, false, 0), ("B", "", true, true, 5)]),
        ("RUN cat \\\n <<A\nx\nA\n", &[("A", "x\n", true, false, 0)]),
        // Quotes that do not match: the shell will complain, here there is no document.
        ("RUN echo it's <<A", &[]),
    ];
    for (text, expected) in table {
        let all = instructions(text);
        let [Instruction { kind: InstructionKind::Run(run), .. }] = all.as_slice() else {
            panic!("{text:?}: {all:?}");
        };
        let found: Vec<_> = run
            .heredocs
            .iter()
            .map(|h| (h.name.as_str(), h.content.as_str(), h.expand, h.chomp, h.file_descriptor))
            .collect();
        assert_eq!(&found, expected, "{text:?}");
    }
}

#[test]
fn only_run_copy_and_add_have_documents() {
    for text in ["USER <<A\nARG x", "WORKDIR <<A\nARG x", "ENV a=<<A\nARG x", "CMD cat <<A\nARG x"]
    {
        assert_eq!(instructions(text).len(), 2, "{text:?}");
    }
}

#[test]
fn lines_are_counted_through_documents() {
    let all = instructions("RUN <<A\n1\n2\nA\n\nRUN x \\\n  y\nRUN z\n");
    let spans: Vec<_> = all.iter().map(|i| (i.span.line, i.span.end_line)).collect();
    assert_eq!(spans, [(2, 5), (7, 8), (9, 9)]);
    assert_eq!(all[0].text, "RUN <<A");
    assert_eq!(all[1].text, "RUN x   y");
}

fn script(text: &str) -> Script {
    match &instructions(text)[0].kind {
        InstructionKind::Run(run) => run.script(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_lone_document_is_the_script() {
    let shell = |text: &str| Command::Shell(text.to_owned());
    let table = [
        ("RUN <<A\necho 1\necho 2\nA\n", shell("echo 1\necho 2\n"), None, Some("echo 1...")),
        ("RUN <<A\necho 1\nA\n", shell("echo 1\n"), None, Some("echo 1")),
        ("RUN <<-A\n\techo 1\n\t A\nA\n", shell("echo 1\n A\n"), None, Some("echo 1...")),
        ("RUN <<A\nA\n", shell(""), None, Some("")),
        (
            "RUN <<A\n#!/bin/python\nprint(1)\nA\n",
            shell("/dev/pipes/A"),
            Some(("A", "#!/bin/python\nprint(1)\n")),
            Some("#!/bin/python..."),
        ),
        (
            "RUN <<-A\n\t#!/bin/x\n\ty\n\tA\n",
            shell("/dev/pipes/A"),
            Some(("A", "#!/bin/x\ny\n")),
            Some("#!/bin/x..."),
        ),
        ("RUN cat <<A\nx\nA\n", shell("cat <<A\nx\nA"), None, None),
        ("RUN <<A cat\nx\nA\n", shell("<<A cat\nx\nA"), None, None),
        ("RUN <<-A cat\n\tx\n\tA\n", shell("<<-A cat\n\tx\nA"), None, None),
        ("RUN <<A <<B\n1\nA\n2\nB\n", shell("<<A <<B\n1\nA\n2\nB"), None, None),
        ("RUN <<'A'\n$x\nA\n", shell("$x\n"), None, Some("$x")),
        ("RUN ls -l", shell("ls -l"), None, None),
        ("RUN", shell(""), None, None),
        ("RUN [\"ls\"]", Command::Exec(vec!["ls".to_owned()]), None, None),
    ];
    for (text, command, file, summary) in table {
        let found = script(text);
        assert_eq!(found.command, command, "{text:?}");
        let written = found.file.as_ref().map(|(name, data)| (name.as_str(), data.as_str()));
        assert_eq!(written, file, "{text:?}");
        assert_eq!(found.summary.as_deref(), summary, "{text:?}");
    }
}

#[test]
fn copied_documents_become_files() {
    let table: &[(&str, &[&str], &[(&str, &str, bool)], &str)] = &[
        ("COPY <<a.txt /d/\nx $y\na.txt\n", &[], &[("a.txt", "x $y\n", true)], "/d/"),
        ("COPY <<'A' /d\nx $y\nA\n", &[], &[("A", "x $y\n", false)], "/d"),
        ("COPY <<-A /d\n\tx\n\t\ty\nA\n", &[], &[("A", "x\ny\n", true)], "/d"),
        (
            "COPY f <<A g <<B /d/\n1\nA\n2\nB\n",
            &["f", "g"],
            &[("A", "1\n", true), ("B", "2\n", true)],
            "/d/",
        ),
        ("ADD <<A /d\n1\nA\n", &[], &[("A", "1\n", true)], "/d"),
        ("COPY <<A <<A /d\n1\nA\n2\nA\n", &[], &[("A", "2\n", true), ("A", "2\n", true)], "/d"),
        ("COPY [\"<<A\", \"/d\"]", &[], &[("A", "", true)], "/d"),
    ];
    for (text, sources, contents, dest) in table {
        let all = instructions(text);
        let transfer = match &all[0].kind {
            InstructionKind::Copy(copy) => &copy.transfer,
            InstructionKind::Add(add) => &add.transfer,
            other => panic!("{other:?}"),
        };
        let found: Vec<_> = transfer
            .contents
            .iter()
            .map(|c| (c.path.as_str(), c.data.as_str(), c.expand))
            .collect();
        assert_eq!(&transfer.sources, sources, "{text:?}");
        assert_eq!(&found, contents, "{text:?}");
        assert_eq!(&transfer.dest, dest, "{text:?}");
    }
}

#[test]
fn a_trigger_keeps_its_documents() {
    let all = instructions("ONBUILD RUN <<-A cat\n\tx\n\tA\nONBUILD COPY <<B /d\n1\nB\n");
    let expressions: Vec<_> = all
        .iter()
        .map(|i| match &i.kind {
            InstructionKind::OnBuild(onbuild) => {
                assert!(onbuild.trigger.is_some());
                onbuild.expression.as_str()
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(expressions, ["RUN <<-A cat\n\tx\nA", "COPY <<B /d\n1\nB"]);
}

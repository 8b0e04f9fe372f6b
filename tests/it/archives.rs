//! Archives that nobody exports: refused by name, with 65, and nothing of them in the lake.

use std::io::{Cursor, Write};

use payoutlake::decode::{Decoder, Options};
use payoutlake::error::Kind;
use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

use crate::world::World;

const GOOD: &str = "earningId,participantId,programName,transactionCurrency,earningType,earningAmount,earningAmountUSD,earningDate,paymentStatus\n\
    E-1,P-1,CSP,EUR,Rebate,1.25,1.50,2026-09-03T00:00:00Z,SENT\n";

fn zip_of(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        let method = if bytes.is_empty() { CompressionMethod::Stored } else { CompressionMethod::Deflated };
        zip.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn gzip_of(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// A good archive of two texts with some bytes changed, counted from the second entry of its list.
fn changed(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut zip = zip_of(&[("a.csv", GOOD.as_bytes()), ("b.csv", GOOD.replace("E-1", "E-2").as_bytes())]);
    let second = zip.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap();
    zip[second + at..second + at + bytes.len()].copy_from_slice(bytes);
    zip
}

#[test]
fn hostile_archives_are_refused_by_name() {
    let good = zip_of(&[("a.csv", GOOD.as_bytes())]);
    let list = good.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap();
    let bomb = GOOD.to_owned() + &format!("{}\n", " ".repeat(1023)).repeat(11 << 10);
    let bomb = bomb.as_bytes();
    let crowd: Vec<String> = (0..100_000).map(|number| format!("{number}.csv")).collect();
    let crowd: Vec<(&str, &[u8])> = crowd.iter().map(|name| (name.as_str(), &b""[..])).collect();
    // Places in an entry of the list: APPNOTE.TXT 4.3.12.
    let cases: Vec<(&str, Vec<u8>, &[&str])> = vec![
        ("bomb.zip", zip_of(&[("a.csv", bomb)]), &["expand to more than 200 times", "bomb.zip!a.csv"]),
        ("bomb.gz", gzip_of(bomb), &["expand to more than 200 times", "bomb.gz"]),
        ("crowd.zip", zip_of(&crowd), &["100000 entries, more than 10000"]),
        (
            "dots.zip",
            zip_of(&[("x/../../a.csv", GOOD.as_bytes())]),
            &["a name that no export has", "x/../../a.csv"],
        ),
        ("dots2.zip", changed(46, b"../ab"), &["a name that no export has", "../ab"]),
        ("absolute.zip", changed(46, b"/etc/"), &["a name that no export has", "/etc/"]),
        ("drive.zip", changed(46, b"C:\\ab"), &["a name that no export has", "C:\\\\ab"]),
        ("nul.zip", changed(46, b"a\0csv"), &["a name that no export has"]),
        ("same.zip", changed(46, b"a.csv"), &["have the same name"]),
        ("nested.zip", zip_of(&[("in.zip", &good)]), &["an archive inside an archive", "nested.zip!in.zip"]),
        ("nested.gz", gzip_of(&good), &["an archive inside an archive"]),
        ("encrypted.zip", changed(8, b"\x01"), &["encrypted", "encrypted.zip!b.csv"]),
        ("method.zip", changed(10, b"\x0c"), &["method that is not supported"]),
        ("crc.zip", changed(16, b"\0\0\0\0"), &["damaged or cut short", "crc.zip!b.csv"]),
        ("size.zip", changed(24, b"\xff"), &["the archive states", "size.zip!b.csv"]),
        ("overlap.zip", changed(42, b"\0\0\0\0"), &["overlap, like a zip bomb"]),
        ("cut-list.zip", good[..list + 20].to_vec(), &["damaged or cut short", "cut-list.zip"]),
        ("cut-end.zip", good[..good.len() - 3].to_vec(), &["damaged or cut short"]),
        ("cut-data.zip", good[..40].to_vec(), &["damaged or cut short"]),
        ("office.zip", zip_of(&[("[Content_Types].xml", b"<?xml?>")]), &["Office document"]),
    ];
    let world = World::new();
    for (name, bytes, words) in cases {
        world.write(name, bytes);
        let args =
            ["ingest", "--dataset", "transaction_history", "--lake", "lake", "--account", "contoso", name];
        let done = world.run(&args);
        assert_eq!(done.code, 65, "{name}:\n{}", done.stderr);
        for word in words.iter().chain(&["hint"]) {
            assert!(done.stderr.contains(word), "{name} does not say '{word}':\n{}", done.stderr);
        }
        assert!(world.files("lake/transaction_history").is_empty(), "{name} left something behind");
        std::fs::remove_file(world.path(name)).unwrap();
    }
}

/// What the fuzzers start from, and what they found: it is read, or refused as a contract.
#[test]
fn the_seeds_of_the_fuzzers_are_read_or_refused() {
    let seeds = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds");
    let mut read = 0;
    for folder in ["archive", "delimited"] {
        for entry in std::fs::read_dir(seeds.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            match texts_in(&path) {
                Ok(texts) => read += texts,
                Err(error) => assert_eq!(error.kind(), Kind::Contract, "{}: {error:?}", path.display()),
            }
        }
    }
    assert!(read > 10, "the test reads too little: {read} texts");
}

fn texts_in(path: &std::path::Path) -> payoutlake::error::Result<usize> {
    let mut decoder = Decoder::open(path, "seed", &Options::default())?;
    let mut texts = 0;
    while let Some(mut text) = decoder.next_file()? {
        while text.next_batch()?.is_some() {}
        texts += 1;
    }
    Ok(texts)
}

#[test]
fn more_text_than_a_pipeline_allows_is_refused() {
    let world = World::new();
    world.pipeline("", "[decode]\nmax_expanded_bytes = 10000");
    let done = world.run(&["run", "pipeline.toml"]);
    assert_eq!(done.code, 65, "{}", done.stderr);
    assert!(done.stderr.contains("the file holds more than 10000 bytes of text"), "{}", done.stderr);
    assert!(world.files("lake/transaction_history").is_empty());
}

/// Who audits a file finds each entry with what the archive states of it, in the receipt and in SQL.
#[test]
fn the_entries_of_an_archive_are_told() {
    let world = World::new();
    let second = GOOD.replace("E-1", "E-2") + &GOOD.replace("E-1", "E-3")[GOOD.find('\n').unwrap() + 1..];
    let zip = zip_of(&[("a.csv", GOOD.as_bytes()), ("x/b.csv", second.as_bytes()), ("empty.csv", b"")]);
    world.write("two.zip", &zip);
    world.write("plain.csv", GOOD.replace("E-1", "E-4"));
    let into = ["ingest", "--dataset", "transaction_history", "--lake", "lake", "--account", "contoso"];
    world.ok(&[into.as_slice(), &["two.zip", "plain.csv"]].concat());
    let crc = |text: &str| {
        let mut crc = flate2::Crc::new();
        crc.update(text.as_bytes());
        format!("{:08x}", crc.sum())
    };
    let told = "SELECT file, bytes, crc32, rows FROM control_totals WHERE hop = 'received' ORDER BY version, file NULLS FIRST";
    let expected = [
        format!(",{},,", zip.len()),
        format!("two.zip!a.csv,{},{},1", GOOD.len(), crc(GOOD)),
        "two.zip!empty.csv,0,00000000,0".to_owned(),
        format!("two.zip!x/b.csv,{},{},2", second.len(), crc(&second)),
        format!(",{},,", GOOD.len()),
        format!("plain.csv,{},,1", GOOD.len()),
    ];
    assert_eq!(world.sql("lake", told), expected);
    let receipts = world.files("lake/_payoutlake/runs");
    let receipt: serde_json::Value = serde_json::from_slice(&receipts[0].1).unwrap();
    let texts = &receipt["tables"][0]["windows"][0]["texts"];
    assert_eq!(texts[0]["name"], "two.zip!a.csv");
    assert_eq!(texts[0]["crc32"], crc(GOOD));
    let packed: Vec<u64> =
        texts.as_array().unwrap().iter().map(|text| text["packed_bytes"].as_u64().unwrap()).collect();
    assert!(packed[0] > 0 && packed[0] < GOOD.len() as u64 && packed[2] == 0, "{packed:?}");
}

//! Streams through real files and pipes: what is sealed reads back, what is not is told by name.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, FixedSizeListArray, Float32Array, Int64Array, RecordBatch};
use arrow_array::{LargeStringArray, StringArray};
use arrow_schema::{DataType, Field, Schema};
use cs_common::Error;
use cs_common::metadata::{Repo, StreamMetadata, Totals};
use cs_common::rows::{BatchBuilder, Chunk, FileInfo, Rows, chunk_schema};
use cs_common::stream::{Format, StreamReader, StreamWriter};

const FORMATS: [Format; 2] = [Format::Arrow, Format::Jsonl];

fn metadata() -> StreamMetadata {
    StreamMetadata {
        repos: vec![Repo {
            name: "r".to_owned(),
            root: "/r".to_owned(),
        }],
        totals: Some(Totals {
            files: 2,
            bytes: 20,
        }),
        other: [("team.note".to_owned(), "kept".to_owned())].into(),
        ..StreamMetadata::default()
    }
}

/// A batch of two files, with a vector and a column that the contract does not know.
fn batch() -> RecordBatch {
    let mut builder = BatchBuilder::default();
    for path in ["a \"quoted\".rs", "b.rs"] {
        let file = FileInfo {
            repo: "r",
            path,
            file_size: Some(u64::MAX),
            ..FileInfo::default()
        };
        let chunk = Chunk {
            chunk_id: path,
            content: "fn f() {\n\t\"\u{e9}\"\n}",
            ..Chunk::default()
        };
        builder.put(&file, &chunk);
    }
    let rows = builder.finish().unwrap();
    let item = Arc::new(Field::new_list_field(DataType::Float32, true));
    let values = Float32Array::from(vec![0.1, -1e-7, 3.0, 0.25]);
    let vector = FixedSizeListArray::new(Arc::clone(&item), 2, Arc::new(values), None);
    let mut fields = rows.schema().fields().to_vec();
    fields.push(Arc::new(Field::new(
        "vector",
        DataType::FixedSizeList(item, 2),
        true,
    )));
    fields.push(Arc::new(Field::new("stars", DataType::Int64, true)));
    let mut columns = rows.columns().to_vec();
    columns.push(Arc::new(vector));
    columns.push(Arc::new(Int64Array::from(vec![Some(7), None])));
    let schema = metadata().apply(Schema::new(fields));
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

fn write(format: Format, batches: &[RecordBatch], schema: &Schema, seal: bool) -> Vec<u8> {
    let file = tempfile::tempfile().unwrap();
    let sink = file.try_clone().unwrap();
    let mut writer = StreamWriter::new(format, schema, Box::new(sink)).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    if seal {
        writer.finish().unwrap();
    }
    slurp(file)
}

fn slurp(mut file: File) -> Vec<u8> {
    file.seek(SeekFrom::Start(0)).unwrap();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
    bytes
}

fn read(bytes: &[u8]) -> Result<(StreamMetadata, Vec<RecordBatch>), Error> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    collect(file)
}

fn collect(file: File) -> Result<(StreamMetadata, Vec<RecordBatch>), Error> {
    let mut reader = StreamReader::open(file)?;
    let metadata = reader.metadata().clone();
    let mut batches = Vec::new();
    while let Some(batch) = reader.next_batch()? {
        batches.push(batch);
    }
    Ok((metadata, batches))
}

#[test]
fn both_forms_carry_every_value_column_and_key() {
    let batch = batch();
    for format in FORMATS {
        let bytes = write(
            format,
            &[batch.clone(), batch.clone()],
            &batch.schema(),
            true,
        );
        let (found, batches) = read(&bytes).unwrap();
        assert_eq!(found, metadata(), "{format:?}");
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        assert_eq!(rows, 4, "{format:?}");
        for column in batch.schema().fields() {
            let name = column.name();
            let expected = batch.column_by_name(name).unwrap();
            let got = batches[0].column_by_name(name).unwrap();
            assert_eq!(&got.slice(0, 2), expected, "{format:?} {name}");
        }
    }
}

#[test]
fn a_stream_cut_anywhere_is_unsealed() {
    let batch = batch();
    for format in FORMATS {
        let whole = write(
            format,
            &[batch.clone(), batch.clone()],
            &batch.schema(),
            true,
        );
        read(&whole).unwrap();
        // The last byte of the JSON form is the seal's line end.
        for length in (1..whole.len())
            .step_by(7)
            .chain(whole.len() - 9..whole.len())
        {
            let error = read(&whole[..length]).unwrap_err();
            let named = match error {
                Error::Unsealed => true,
                Error::NotAStream(_) | Error::Empty => length < 4,
                _ => false,
            };
            assert!(
                named,
                "{format:?} cut at {length} of {}: {error}",
                whole.len()
            );
        }
        let unsealed = write(format, std::slice::from_ref(&batch), &batch.schema(), false);
        assert!(
            matches!(read(&unsealed), Err(Error::Unsealed)),
            "{format:?}"
        );
    }
}

#[test]
fn what_is_no_stream_is_refused_by_name() {
    let schema = Schema::new(chunk_schema().fields().clone());
    let other = schema
        .clone()
        .with_metadata([("cs.wire".to_owned(), "2".to_owned())].into());
    let good = batch();
    let mut trailing = write(
        Format::Arrow,
        std::slice::from_ref(&good),
        &good.schema(),
        true,
    );
    trailing.extend_from_slice(b"x");
    let mut trailing_json = write(Format::Jsonl, &[], &metadata().apply(schema.clone()), true);
    trailing_json.extend_from_slice(b"{}\n");
    let huge = [&[0xff; 4][..], &u32::MAX.to_le_bytes()].concat();
    let cases: [(Vec<u8>, &str); 9] = [
        (Vec::new(), "is empty"),
        (b"hello, world".to_vec(), "no chunk stream"),
        (write(Format::Arrow, &[], &schema, true), "no `cs.wire`"),
        (write(Format::Arrow, &[], &other, true), "wire version 2"),
        (write(Format::Jsonl, &[], &other, true), "wire version 2"),
        (trailing, "goes on after its end marker"),
        (trailing_json, "goes on after its end marker"),
        (huge, "exceeds the limit"),
        (
            b"{\"op\":\"put\",\"repo\":\"r\",\"path\":\"p\"}\n{oops\n".to_vec(),
            "line 2",
        ),
    ];
    for (bytes, expected) in cases {
        let message = read(&bytes).unwrap_err().to_string();
        assert!(
            message.contains(expected),
            "{expected:?} not in {message:?}"
        );
    }
}

#[test]
fn an_empty_sealed_stream_is_whole() {
    let schema = metadata().apply(chunk_schema());
    for format in FORMATS {
        let (found, batches) = read(&write(format, &[], &schema, true)).unwrap();
        assert_eq!((found, batches.len()), (metadata(), 0), "{format:?}");
    }
}

#[test]
fn lines_made_by_hand_need_no_first_line() {
    let text = concat!(
        "{\"op\":\"put\",\"repo\":\"r\",\"path\":\"p\",\"content\":\"x\",\"stars\":3,\"vector\":[1,0.5]}\n",
        "\n",
        "{\"op\":\"end\"}\n",
    );
    let (_, batches) = read(text.as_bytes()).unwrap();
    let rows = Rows::new(&batches[0]).unwrap();
    assert_eq!((rows.len(), rows.content(0)), (1, Some("x")));
    assert_eq!(batches[0].column_by_name("stars").unwrap().len(), 1);
    let vector = batches[0].column_by_name("vector").unwrap();
    assert_eq!(vector.as_fixed_size_list().value_length(), 2);

    let late = concat!(
        "{\"op\":\"begin\",\"metadata\":{\"cs.wire\":\"1\"},\"columns\":{}}\n",
        "{\"op\":\"put\",\"repo\":\"r\",\"path\":\"p\",\"start_line\":\"x\"}\n",
        "{\"op\":\"end\"}\n",
    );
    let message = read(late.as_bytes()).unwrap_err().to_string();
    assert!(message.contains("line 2"), "{message}");
}

#[test]
fn strings_of_other_tools_are_cast() {
    let text = |value: &str| Arc::new(LargeStringArray::from(vec![value])) as ArrayRef;
    let columns = vec![
        text("put"),
        text("r"),
        text("p"),
        Arc::new(Int64Array::from(vec![5])) as ArrayRef,
    ];
    let large = |name| Field::new(name, DataType::LargeUtf8, false);
    let fields = vec![
        large("op"),
        large("repo"),
        large("path"),
        Field::new("start_line", DataType::Int64, true),
    ];
    let schema = Arc::new(metadata().apply(Schema::new(fields)));
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
    let bytes = write(Format::Arrow, &[batch], &schema, true);
    let (_, batches) = read(&bytes).unwrap();
    let rows = Rows::new(&batches[0]).unwrap();
    assert_eq!((rows.path(0), rows.start_line(0)), ("p", Some(5)));
}

#[test]
fn an_unknown_op_and_a_missing_column_are_named() {
    let bad = RecordBatch::try_from_iter([
        ("op", Arc::new(StringArray::from(vec!["drop"])) as ArrayRef),
        ("repo", Arc::new(StringArray::from(vec!["r"])) as ArrayRef),
        ("path", Arc::new(StringArray::from(vec!["p"])) as ArrayRef),
    ])
    .unwrap();
    assert!(
        Rows::new(&bad)
            .unwrap_err()
            .to_string()
            .contains("\"drop\"")
    );
    let missing = bad.project(&[0, 1]).unwrap();
    let message = Rows::new(&missing.slice(0, 0)).unwrap_err().to_string();
    assert!(message.contains("`path`"), "{message}");
}

#[test]
fn a_pipe_that_brings_single_bytes_changes_nothing() {
    let batch = batch();
    for format in FORMATS {
        let bytes = write(format, std::slice::from_ref(&batch), &batch.schema(), true);
        let (reader, mut writer) = std::io::pipe().unwrap();
        let drip = std::thread::spawn(move || {
            for byte in bytes {
                writer.write_all(&[byte]).unwrap();
            }
        });
        let (_, batches) = collect(File::from(OwnedFd::from(reader))).unwrap();
        drip.join().unwrap();
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        assert_eq!(rows, 2, "{format:?}");
    }
}

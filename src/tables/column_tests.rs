//! Which column is which field, and what is said of columns that are none.

use std::path::Path;

use super::{
    EventColumns, EventFile, ItemFile, Mapping, MappingOption,
    test_files::{items, read_events, refused, written},
};

#[test]
fn a_wrong_column_is_a_sentence_that_says_what_to_do() {
    for (contents, map, expected) in [
        (
            "userId,movieId,ts\n1,2,3\n",
            &["content_id=movie"][..],
            "--map content_id=movie: there is no such column; the columns are userId, movieId, ts",
        ),
        (
            "userId,movieId,ts\n1,2,3\n",
            &["contentid=movieId", "film=movieId"],
            "--map film=movieId: there is no field film; the fields are user_id, event_type",
        ),
        (
            "kunde,item,ts\n1,2,3\n",
            &[],
            "no column is known as user_id; the columns are kunde, item, ts; name the right one, \
             for example --map user_id=customer",
        ),
        (
            "SessionId,item,ts\n1,2,3\n",
            &[],
            "no column is known as user_id; the columns are SessionId, item, ts; name the right \
             one, for example --map user_id=customer (with the session's column each session \
             counts as a user)",
        ),
        (
            "user,item\n1,2\n",
            &[],
            "no column is known as event_time; the columns are user, item; name the right one, \
             for example --map event_time=created",
        ),
        (
            "hello\n",
            &[],
            "is neither JSON (lines or an array) nor CSV or TSV: its first line is \"hello\"; separate \
             columns by commas, semicolons, tabs or |",
        ),
        (
            "<?xml version=\"1.0\"?>\n<a/>\n",
            &[],
            "is XML or HTML: export it as CSV",
        ),
        (
            "<!DOCTYPE html><p>Log in, please",
            &[],
            "is XML or HTML: export it as CSV",
        ),
        (
            "SQLite format 3\0",
            &[],
            "is a SQLite database: export a table as CSV",
        ),
        ("a\0b,c\n", &[], "is not text: export it as CSV"),
        (
            "{\n  \"events\": [\n    {\"user\":1,\"ts\":1}\n  ]\n}\n",
            &[],
            "is a JSON object over several lines: give the list of its rows alone, or one object \
             a line, for example by jq -c '.items[]'",
        ),
        (
            "{\"total\":1,\"hits\":[{\"user\":1,\"ts\":1}]}\n",
            &[],
            "is one JSON object, with the rows in its key hits: give that list alone, for example \
             by jq .hits",
        ),
        ("PK\u{3}\u{4}", &[], "is a zip archive: unpack it first"),
        // JSON has the same sentence as CSV, once all rows are read.
        (
            "{\"kunde\":1,\"item\":2,\"ts\":3}\n{\"kunde\":2,\"item\":2,\"ts\":3,\"more\":1}\n",
            &[],
            "no column is known as user_id; the columns are item, kunde, ts, more; name the right \
             one, for example --map user_id=customer",
        ),
        (
            "[{\"user\":1,\"item\":2},\n{\"user\":2,\"item\":2}]",
            &[],
            "no column is known as event_time; the columns are item, user; name the right one, \
             for example --map event_time=created",
        ),
        (
            "{\"SessionId\":1,\"ts\":2}\n",
            &["user_id=kunde"],
            "no column is known as user_id; the columns are SessionId, ts; name the right one, for \
             example --map user_id=customer (with the session's column each session counts as a \
             user)",
        ),
        (
            "196\t242\t3\t881250949\n",
            &[],
            "no column is known as user_id; the columns are 196, 242, 3, 881250949; name the right \
             one, for example --map user_id=customer; columns without a header are numbers from 1",
        ),
    ] {
        let text = refused(contents, map);
        assert!(text.starts_with(expected), "{text}");
    }
    // One row that has the column makes it known.
    let contents = "{\"kunde\":1,\"ts\":3}\n{\"user\":2,\"item\":2,\"ts\":3}\n";
    let (lines, _) = read_events(&written(contents).path, &[]).unwrap();
    assert_eq!(lines[0].1, Err("user_id must be set".to_owned()));
    assert!(lines[1].1.is_ok());
    // A table that is wider than a sentence.
    let header: Vec<String> = (0..50).map(|number| format!("c{number}")).collect();
    let text = refused(&format!("{}\n", header.join(",")), &[]);
    assert!(
        text.contains("c28, c29, and 20 more; name the right"),
        "{text}"
    );
    let text = read_events(Path::new("no/such/file"), &[]).unwrap_err();
    assert!(text.starts_with("cannot read no/such/file: "), "{text}");
}

#[test]
fn a_file_without_items_or_types_says_what_its_events_count_as() {
    let no_type = "no column is known as event_type: all events count as views; the columns are \
                   user, item, ts, aktion; name the right one, for example --map event_type=action, or the type of all, for example --event-type purchase";
    let no_type_in_json = "no column is known as event_type: all events count as views; the \
                           columns are aktion, item, ts, user; name the right one, for example \
                           --map event_type=action, or the type of all, for example \
                           --event-type purchase";
    let no_item = "no column is known as content_id: no event names an item; the columns are user, \
                   ts, action, artikel; name the right one, for example --map content_id=article";
    let no_item_in_json = "no column is known as content_id: no event names an item; the columns \
                           are action, artikel, ts, user; name the right one, for example --map \
                           content_id=article";
    for (contents, expected) in [
        ("user,item,ts,aktion\nu,i,1,kauf\n", &[no_type][..]),
        (
            "{\"user\":\"u\",\"item\":\"i\",\"ts\":1,\"aktion\":\"kauf\"}\n",
            &[no_type_in_json],
        ),
        ("user,ts,action,artikel\nu,1,buy,i\n", &[no_item]),
        (
            "[{\"user\":\"u\",\"ts\":1,\"action\":\"buy\",\"artikel\":\"i\"}]",
            &[no_item_in_json],
        ),
        // A log of one kind of event, ratings, and impressions are complete.
        ("user,item,ts\nu,i,1\n", &[]),
        ("user,item,ts,rating,page\nu,i,1,5,p\n", &[]),
        (
            "{\"user\":\"u\",\"ts\":1,\"event\":\"shown\",\"shown\":[\"i\"]}",
            &[],
        ),
        ("", &["WARNING: the file has no rows"]),
        ("user,item,ts\n", &["WARNING: the file has no rows"]),
    ] {
        let (_, warnings) = read_events(&written(contents).path, &[]).unwrap();
        assert_eq!(warnings, expected, "{contents}");
    }
}

#[test]
fn messages_name_the_option_of_the_mapping() {
    let file = written("{\"artikel\":1,\"name\":\"A\",\"tags_en\":\"x\"}\n");
    let read = |option, map: &[&str]| {
        let mapping = Mapping::parse(option, map.iter().copied()).unwrap();
        let mut items = ItemFile::open(&file.path, &mapping).unwrap();
        loop {
            match items.next_item() {
                Ok(Some(_)) => {}
                Ok(None) => return items.warnings().join("\n"),
                Err(error) => return error.to_string(),
            }
        }
    };
    for (option, map, expected) in [
        (
            MappingOption::Map,
            &[][..],
            "no column is known as id; the columns are artikel, name, tags_en; name the right one, \
             for example --map id=artikel",
        ),
        (
            MappingOption::CatalogPathMap,
            &[],
            "no column is known as id; the columns are artikel, name, tags_en; name the right one, \
             for example CATALOG_PATH_MAP=id=artikel",
        ),
        (
            MappingOption::CatalogPathMap,
            &["id=artikel"],
            "column tags_en is not read as tags; if it should be, add tags=tags_en to \
             CATALOG_PATH_MAP",
        ),
        (
            MappingOption::CatalogMap,
            &["id=artikel,title=x,tags=tags_en"],
            "--catalog-map title=x: no row has this column",
        ),
    ] {
        let text = read(option, map);
        assert!(
            text.ends_with(expected) || text.starts_with(expected),
            "{text}"
        );
    }
}

#[test]
fn a_column_that_resembles_a_field_is_named_once() {
    let contents = "{\"user\":\"u\",\"ts\":1,\"event\":\"view\",\"item\":\"a\",\"product_id\":\"b\",\"rating_text\":\"x\"}\n";
    let (_, warnings) = read_events(&written(contents.repeat(2)).path, &["clicked_id=cl"]).unwrap();
    assert_eq!(
        warnings,
        [
            "--map clicked_id=cl: no row has this column",
            "column product_id is not read as content_id; if it should be, add --map \
             content_id=product_id",
            "column rating_text is not read as rating; if it should be, add --map \
             rating=rating_text",
        ]
    );
}

#[test]
fn events_without_a_type_have_the_given_one() {
    let read = |contents: &str| {
        let file = written(contents);
        let columns = EventColumns {
            default_type: Some("purchase".to_owned()),
            ..EventColumns::default()
        };
        let mut events = EventFile::open(&file.path, &columns).unwrap();
        let mut types = Vec::new();
        while let Some((_, event)) = events.next_event().unwrap() {
            types.push(event.unwrap().event_type);
        }
        (types, events.warnings())
    };
    let (types, warnings) = read("user,item,ts,order\nu,i,1,o\n");
    assert_eq!((types, warnings), (vec!["purchase".to_owned()], vec![]));
    let (types, _) = read("user,item,ts,action\nu,i,1,view\nu,i,1,\n");
    assert_eq!(types, ["view", "purchase"]);
    let (types, _) = read("user,item,ts,rating\nu,i,1,5\n");
    assert_eq!(types, ["purchase"]);
}

#[test]
fn a_column_that_resembles_a_field_of_another_column_is_not_named() {
    let contents = "productID,productName,categoryID,categoryName\n1,Chai,1,Beverages\n";
    let (read, warnings) = items(contents, &[]);
    assert_eq!(read[0].tags[0].label, "Beverages");
    assert_eq!(warnings, Vec::<String>::new());
}

#[test]
fn a_second_column_of_categories_can_be_read_as_tags() {
    let contents = "id,category,Sub-Category\n1,Furniture,Chairs\n";
    let (read, warnings) = items(contents, &[]);
    assert_eq!(read[0].tags.len(), 1);
    assert_eq!(
        warnings,
        [
            "column Sub-Category is not read as categories, because another column is; to read it \
             as tags, add --map tags=Sub-Category"
        ]
    );
    let (read, warnings) = items(contents, &["tags=Sub-Category"]);
    let labels: Vec<&str> = read[0].tags.iter().map(|tag| tag.label.as_str()).collect();
    assert_eq!(labels, ["Chairs", "Furniture"]);
    assert_eq!(warnings, Vec::<String>::new());
}

#[test]
fn a_column_that_is_mapped_to_two_fields_is_refused() {
    let text = refused(
        "user,product,ts\nu,i,1\n",
        &["content_id=product,query_text=Product"],
    );
    assert_eq!(
        text,
        "--map query_text=Product: content_id=product names the same column; a column is one field"
    );
}

#[test]
fn a_file_of_ids_alone_is_a_table() {
    let (read, warnings) = items("id\n1\n2\n", &[]);
    let ids: Vec<&str> = read.iter().map(|item| item.id.as_str()).collect();
    assert_eq!((ids, warnings), (vec!["1", "2"], vec![]));
}

#[test]
fn a_date_that_begins_with_a_day_or_a_month_is_refused_with_the_order_to_use() {
    for (time, has_advice) in [
        ("29/11/2026 10:00", true),
        ("11-29-2026", true),
        ("29.11.2026", true),
        ("soon", false),
        ("1:2:3", false),
    ] {
        let contents = format!("user,item,ts\nu,i,{time}\n");
        let (lines, _) = read_events(&written(contents).path, &[]).unwrap();
        let reason = lines[0].1.clone().unwrap_err();
        let advice = format!("not {time:?}; write dates with the year first, as 2026-11-29");
        assert_eq!(reason.ends_with(&advice), has_advice, "{reason}");
    }
}

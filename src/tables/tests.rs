//! Files in every form, as exports have them.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};

use super::test_files::{events, items, read_events, written};
use crate::domain::{event::InteractionEvent, item::Item};

/// Events as `user item time type rating`.
fn described(events: &[InteractionEvent]) -> Vec<String> {
    let text = |event: &InteractionEvent| {
        format!(
            "{} {} {} {}{}",
            event.user_id.as_str(),
            event.content_id.as_ref().map_or("-", |id| id.as_str()),
            event.time,
            event.event_type,
            event
                .rating()
                .map_or(String::new(), |rating| format!(" {rating}")),
        )
    };
    events.iter().map(text).collect()
}

#[test]
fn public_data_sets_need_at_most_one_line_of_map() {
    for (contents, map, expected) in [
        (
            "196\t242\t3\t881250949\n186\t302\t5\t891717742\n",
            "user_id=1,content_id=2,rating=3,event_time=4",
            "196 242 1997-12-04T15:55:49Z rating 3",
        ),
        (
            "userId,movieId,rating,timestamp\n1,31,2.5,1260759144\n",
            "",
            "1 31 2009-12-14T02:52:24Z rating 2.5",
        ),
        (
            "1,2014-04-07T10:51:09.277Z,214536502,0\n",
            "user_id=1,event_time=2,content_id=3",
            "1 214536502 2014-04-07T10:51:09.277000Z view",
        ),
        (
            "SessionId\tItemId\tTime\n1\t214536502\t1396860669.277\n",
            "user_id=SessionId",
            "1 214536502 2014-04-07T08:51:09.277000Z view",
        ),
        (
            "user_id:token\titem_id:token\trating:float\ttimestamp:float\n196\t242\t3\t881250949\n",
            "",
            "196 242 1997-12-04T15:55:49Z rating 3",
        ),
        (
            "user,product,action,timestamp\n17,5002,add_to_cart,1795977650\n",
            "",
            "17 5002 2026-11-29T18:40:50Z add_to_cart",
        ),
        (
            "Kunde;Artikel;Wann\n7;A-1;2026-11-29 18:39:52\n",
            "user_id=Kunde,content_id=Artikel,event_time=Wann",
            "7 A-1 2026-11-29T18:39:52Z view",
        ),
    ] {
        let map: Vec<&str> = Some(map)
            .filter(|map| !map.is_empty())
            .into_iter()
            .collect();
        assert_eq!(described(&events(contents, &map))[0], expected);
    }
}

#[test]
fn json_lines_and_arrays_hold_the_same_events() {
    let objects = [
        r#"{"user_id": 1, "event_type": "view", "event_time": "2026-11-29 18:39:52 UTC", "content_id": 2001.0}"#,
        r#"{"userId":"1","eventType":"view","eventTime":1795977592000,"contentId":"2001","dwellSeconds":"60"}"#,
        r#"{"FeedbackType":"view","UserId":"1","ItemId":"2001","Value":1,"Timestamp":"2026-11-29T18:39:52Z"}"#,
    ];
    let expected = ["1 2001 2026-11-29T18:39:52Z view"; 3];
    let lines = format!("\u{feff}{}\n\n", objects.join(",\n"));
    assert_eq!(described(&events(&lines, &[])), expected);
    for array in [
        format!("[{}]", objects.join(",")),
        format!("\n[\n {},\n]\n", objects.join(" ,\n")),
        format!(
            "[{}\n",
            objects.map(|object| format!("{object},\n")).concat()
        ),
    ] {
        assert_eq!(described(&events(&array, &[])), expected, "{array}");
    }
    let read = events(&lines, &[]);
    assert_eq!(read[1].dwell_seconds, Some(60.0));
}

#[test]
fn every_part_of_an_event_is_read() {
    let read = events(
        r#"{"user_id":"u","event":"CONTENT_VIEW_ENDED","ts":"2026-11-20T19:23:01.25Z","session_id":null,
            "end_reason":"END_REASON_NEXT_BUTTON","impressions":"8|9","survey_answers":{"age":"25"},
            "rating":4.5,"query":"clocks","messageId":"m1"}"#
            .replace('\n', " ")
            .as_str(),
        &[],
    );
    let event = &read[0];
    assert_eq!(event.session_id, None);
    assert_eq!(event.end_reason.unwrap().as_str(), "next_button");
    assert_eq!(event.impressions, ["8".into(), "9".into()]);
    assert_eq!(event.rating(), Some(4.5));
    assert_eq!(event.survey_answers["age"], "25");
    assert_eq!(event.query_text.as_deref(), Some("clocks"));
    assert_eq!(event.event_id.as_deref(), Some("m1"));
}

#[test]
fn gzip_is_recognised_by_its_content() {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(b"user,item,ts\nu,i,1795977592\n").unwrap();
    let file = written(packed.finish().unwrap());
    let (lines, _) = read_events(&file.path, &[]).unwrap();
    assert_eq!(lines.len(), 1);
}

#[test]
fn a_bad_row_is_returned_with_its_line_and_the_rest_is_read() {
    let contents = "user,item,ts,rating,dwell\n\
        u,i,1795977592,,\n\
        ,i,1795977592,,\n\
        u,i,soon,,\n\
        u,i,1795977592,9,\n\
        u,i,1795977592,,-1\n\
        u,i,1795977592,,,,x\n\
        \n\
        \"u\nv\",i,1795977592,,\n\
        u,i,1795977593,5.0,1\n";
    let (lines, _) = read_events(&written(contents).path, &[]).unwrap();
    let wrong: Vec<String> = lines
        .iter()
        .filter_map(|(number, line)| Some(format!("{number} {}", line.as_ref().err()?)))
        .collect();
    assert_eq!(
        wrong,
        [
            "3 user_id must be set",
            "4 event_time must be a time such as 2026-11-29T18:39:52Z, or seconds or \
             milliseconds since 1970, not \"soon\"",
            "5 rating must be 0 to 5, not 9; convert other scales to five stars first",
            "6 dwell_seconds must be a number of seconds, 0 to 86400, not \"-1\"",
            "7 not an event: has 7 values, the header 5 columns",
            "9 user_id must not hold control characters",
        ]
    );
    assert_eq!(lines.last().unwrap().0, 11);
    assert!(lines.last().unwrap().1.is_ok());
    let contents = contents.replace('\n', "\r\n");
    let (windows, _) = read_events(&written(contents).path, &[]).unwrap();
    assert_eq!(windows, lines);
    let (lines, _) = read_events(
        &written("[{\"user\":\"u\",\"ts\":1},\n{oops},\n7,\n{\"user\":\"u\",\"ts\":2}, {\"user\"")
            .path,
        &[],
    )
    .unwrap();
    let outcomes: Vec<String> = lines
        .iter()
        .map(|(number, line)| {
            format!(
                "{number} {}",
                line.as_ref().map_or_else(Clone::clone, |_| "ok".into())
            )
        })
        .collect();
    assert_eq!(
        outcomes,
        [
            "1 ok",
            "2 not an event: not JSON at column 2: 'o' is not expected",
            "3 not an event: not a JSON object",
            "4 ok",
            "4 not an event: the file ends in the middle of this object",
        ]
    );
}

#[test]
fn items_are_read_as_people_export_them() {
    let (read, warnings) = items(
        r#"{"content_id": "1", "name": "A", "contentType": "film", "tag_labels": ["genre:Action"], "embedding": [0.6, 0.8]}
{"id": 2, "title": "B", "tags": ["Adventure", "Animation"], "category": "film"}
{"id": "3", "title": "C", "tags": "Adventure|Animation"}
{"movieId": 4, "title": "D", "genres": "Comedy|Drama"}
{"product_id": "5", "name": "E", "categories": ["Shoes", "Sale"], "price": 19.9, "in_stock": true}
{"id":6.0,"title":"F","lat":"57.7","lon":11.9,"years":[1995.0],"has_image":"yes","word_count":"12"}
{"id":7,"locations":[{"lat":1,"lon":2}],"location":"Gothenburg","vector":"0.6, 0.8","tags":[{"label":"x"}]}"#,
        &[],
    );
    let tags = |item: &Item| -> Vec<String> {
        let tags = item.tags.iter();
        tags.map(|tag| format!("{}:{}", tag.facet, tag.label))
            .collect()
    };
    assert_eq!(read.len(), 7);
    assert_eq!(
        (read[0].title.as_str(), read[0].content_type.as_str()),
        ("A", "film")
    );
    assert_eq!(tags(&read[0]), ["genre:Action"]);
    assert_eq!(read[0].vector.as_ref().unwrap().to_vec(), [0.6, 0.8]);
    assert_eq!(
        tags(&read[1]),
        ["tag:Adventure", "tag:Animation", "category:film"]
    );
    assert_eq!(tags(&read[2]), ["tag:Adventure", "tag:Animation"]);
    assert_eq!(
        (read[3].id.as_str(), tags(&read[3])),
        ("4", vec!["genre:Comedy".into(), "genre:Drama".into()])
    );
    assert_eq!(read[4].attributes["price"], 19.9);
    assert_eq!(
        (read[5].id.as_str(), read[5].years.as_slice()),
        ("6", &[1995][..])
    );
    assert!(read[5].has_image && read[5].word_count == 12 && read[5].locations.len() == 1);
    assert_eq!(read[6].locations.len(), 1);
    assert_eq!(read[6].vector.as_ref().unwrap().size(), 2);
    assert_eq!(tags(&read[6]), ["tag:x"]);
    assert_eq!(warnings.len(), 1, "{warnings:?}");

    let (read, _) = items(
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n\
         1\tToy \"Story\"\t1995\tAnimation Children's Comedy\n",
        &["tags=class"],
    );
    assert_eq!(read[0].title, "Toy \"Story\"");
    assert_eq!(
        tags(&read[0]),
        ["tag:Animation", "tag:Children's", "tag:Comedy"]
    );
    assert_eq!(read[0].years, [1995]);

    let (read, _) = items(
        "product_id,name,category,price,description\n5001,\"Kettle, steel\",Kitchen,39.90,\"Boils\"\n5003,Desk lamp,Office,55.00,\n",
        &[],
    );
    assert_eq!(
        (read[0].title.as_str(), read[0].text.as_str()),
        ("Kettle, steel", "Boils")
    );
    assert_eq!(
        (tags(&read[0]), &read[0].attributes["price"]),
        (vec!["category:Kitchen".into()], &serde_json::json!(39.9))
    );

    let (read, warnings) = items(
        "id;name;tags;category;price;stock;ean;name\n\
         1;A;cotton, summer;Home, Kitchen;12,50;TRUE;0012;B\n",
        &[],
    );
    assert_eq!(
        tags(&read[0]),
        ["tag:cotton", "tag:summer", "category:Home, Kitchen"]
    );
    assert_eq!(
        serde_json::json!(read[0].attributes),
        serde_json::json!({"price": 12.5, "stock": true, "ean": "0012"})
    );
    assert_eq!(
        warnings,
        ["column name is there twice; the first one counts"]
    );

    let (read, _) = items(
        "{\"_id\":{\"$oid\":\"507f\"},\"name\":\"A\",\"stock\":{\"$numberInt\":\"3\"}}\n",
        &[],
    );
    assert_eq!((read[0].id.as_str(), read[0].title.as_str()), ("507f", "A"));
    let (read, _) = items("1|Toy Story (1995)|01-Jan-1995\n", &["id=1,title=2"]);
    assert_eq!(read[0].title, "Toy Story (1995)");
}

#[test]
fn an_id_that_stands_for_none_is_missing() {
    let contents = "user,item,ts\n\\N,i,1\nNULL,i,1\nnull,i,1\nNone,i,1\nu,NaN,1\nu,\\N,1\n";
    let (lines, _) = read_events(&written(contents).path, &[]).unwrap();
    let (without_user, without_item) = lines.split_at(4);
    for (line, event) in without_user {
        assert_eq!(event, &Err("user_id must be set".to_owned()), "line {line}");
    }
    for (line, event) in without_item {
        assert_eq!(event.as_ref().unwrap().content_id, None, "line {line}");
    }
    let events = "{\"user\":\"undefined\",\"item\":\"i\",\"ts\":1}\n\
                  {\"user\":12345678901234567890123,\"item\":\"i\",\"ts\":1}\n";
    let (lines, _) = read_events(&written(events).path, &[]).unwrap();
    assert_eq!(lines[0].1, Err("user_id must be set".to_owned()));
    let long = "user_id has more digits than a number of JSON holds: write it in quotes";
    assert_eq!(lines[1].1, Err(long.to_owned()));
}

#[test]
fn a_quote_that_is_not_closed_is_refused_with_its_line() {
    let contents = "user,item,ts,note\nu,i,1,a\nu,i,2,\"open\nu,i,3,c\nu,i,4,d\n";
    let (lines, _) = read_events(&written(contents).path, &[]).unwrap();
    assert_eq!(lines.len(), 2);
    let reason = "not an event: a quote that opens in this row is not closed until the file ends";
    assert_eq!(lines[1], (3, Err(reason.to_owned())));
    for contents in [
        // Inches, at the end without a line break, and a cell of several lines.
        "user,item,ts,note\nu,i,1,5\" disk\nu,i,2,b\n",
        "user,item,ts,note\nu,i,1,a\nu,i,2,5\" disk",
        "user,item,ts,note\nu,i,1,a\nu,i,2,\"two\nlines\"",
    ] {
        let (lines, _) = read_events(&written(contents).path, &[]).unwrap();
        assert!(lines.len() == 2 && lines[1].1.is_ok(), "{lines:?}");
    }
}

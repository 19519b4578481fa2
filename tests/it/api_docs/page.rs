//! The page: each call with its request and reply, then the shared types.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    FileDescriptorSet, MethodDescriptorProto, ServiceDescriptorProto,
    field_descriptor_proto::{Label, Type},
};

// Field numbers of descriptor.proto, which make up the paths of comments.
const FILE_MESSAGES: i32 = 4;
const FILE_ENUMS: i32 = 5;
const FILE_SERVICES: i32 = 6;
const MESSAGE_FIELDS: i32 = 2;
const MESSAGE_NESTED: i32 = 3;
const MESSAGE_ENUMS: i32 = 4;
const ENUM_VALUES: i32 = 2;
const SERVICE_METHODS: i32 = 2;

const HEAD: &str = "\
# API

Every call and message, made from the comments in `proto/recsys/v1`, which are the contract.
How to call it well from your language: [clients](../guides/clients.md). Trying it by hand:
[grpcurl](grpcurl.md). What errors mean: [errors](errors.md).

Fields that are not said to be required may be left out. A scalar that is left out is
0, false or empty, unless it is `optional`: then it is unset. Limits are the defaults;
`RECSYS_LIMITS` changes them ([settings](settings.md)).

";

/// A message with the paths of its comments in its file.
struct CommentedMessage<'a> {
    file: &'a FileDescriptorProto,
    path: Vec<i32>,
    descriptor: &'a DescriptorProto,
}

struct CommentedEnum<'a> {
    file: &'a FileDescriptorProto,
    path: Vec<i32>,
    descriptor: &'a EnumDescriptorProto,
}

/// All files of one package. Types have their full names, with a leading dot.
pub(super) struct Contract<'a> {
    package: String,
    files: Vec<&'a FileDescriptorProto>,
    messages: BTreeMap<String, CommentedMessage<'a>>,
    enums: BTreeMap<String, CommentedEnum<'a>>,
}

impl<'a> Contract<'a> {
    pub(super) fn new(set: &'a FileDescriptorSet, package: &str) -> Self {
        let files: Vec<_> = set
            .file
            .iter()
            .filter(|file| file.package() == package)
            .collect();
        let mut contract = Self {
            package: format!(".{package}."),
            files: files.clone(),
            messages: BTreeMap::new(),
            enums: BTreeMap::new(),
        };
        for file in files {
            for (index, message) in file.message_type.iter().enumerate() {
                let path = vec![FILE_MESSAGES, number(index)];
                contract.add(file, path, format!(".{package}"), message);
            }
            for (index, descriptor) in file.enum_type.iter().enumerate() {
                let path = vec![FILE_ENUMS, number(index)];
                contract.enums.insert(
                    format!(".{package}.{}", descriptor.name()),
                    CommentedEnum {
                        file,
                        path,
                        descriptor,
                    },
                );
            }
        }
        contract
    }

    fn add(
        &mut self,
        file: &'a FileDescriptorProto,
        path: Vec<i32>,
        within: String,
        descriptor: &'a DescriptorProto,
    ) {
        let name = format!("{within}.{}", descriptor.name());
        for (index, nested) in descriptor.nested_type.iter().enumerate() {
            let path = [&path[..], &[MESSAGE_NESTED, number(index)]].concat();
            self.add(file, path, name.clone(), nested);
        }
        for (index, descriptor) in descriptor.enum_type.iter().enumerate() {
            let path = [&path[..], &[MESSAGE_ENUMS, number(index)]].concat();
            self.enums.insert(
                format!("{name}.{}", descriptor.name()),
                CommentedEnum {
                    file,
                    path,
                    descriptor,
                },
            );
        }
        self.messages.insert(
            name,
            CommentedMessage {
                file,
                path,
                descriptor,
            },
        );
    }

    /// The whole page.
    pub(super) fn page(&self) -> String {
        let mut page = HEAD.to_owned();
        let services = self.services();
        for (_, _, service) in &services {
            for method in &service.method {
                let name = format!("{}.{}", service.name(), method.name());
                let about = anchor(method.name());
                writeln!(page, "* [{name}](#{about})").unwrap();
            }
        }
        let types = "* [Messages](#messages) and [enums](#enums) that several calls share\n";
        page.push_str(types);
        let own = self.messages_of_one_call();
        for (file, path, service) in &services {
            self.service(&mut page, file, path, service, &own);
        }
        page.push_str("\n## Messages\n");
        for (name, message) in &self.messages {
            if !own.contains(name) && !is_map_entry(message.descriptor) {
                writeln!(page, "\n### {}\n", self.short(name)).unwrap();
                self.message(&mut page, message);
            }
        }
        page.push_str("\n## Enums\n");
        for (name, descriptor) in &self.enums {
            writeln!(page, "\n### {}\n", self.short(name)).unwrap();
            enumeration(&mut page, descriptor);
        }
        page
    }

    /// The services with their files and paths; the recommender comes first.
    fn services(
        &self,
    ) -> Vec<(
        &'a FileDescriptorProto,
        Vec<i32>,
        &'a ServiceDescriptorProto,
    )> {
        let mut services: Vec<_> = self
            .files
            .iter()
            .flat_map(|file| {
                let at = |(index, service)| (*file, vec![FILE_SERVICES, number(index)], service);
                file.service.iter().enumerate().map(at)
            })
            .collect();
        services.sort_by_key(|(file, _, service)| {
            (!file.name().ends_with("recommender.proto"), service.name())
        });
        services
    }

    /// Requests and replies of a single call, which are documented with it.
    fn messages_of_one_call(&self) -> BTreeSet<String> {
        let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
        let services = self.services();
        for (_, _, service) in &services {
            for method in &service.method {
                *uses.entry(method.input_type()).or_default() += 1;
                *uses.entry(method.output_type()).or_default() += 1;
            }
        }
        for message in self.messages.values() {
            for field in &message.descriptor.field {
                *uses.entry(field.type_name()).or_default() += 2;
            }
        }
        let once = |(name, uses): (&str, usize)| (uses == 1).then(|| name.to_owned());
        uses.into_iter().filter_map(once).collect()
    }

    fn service(
        &self,
        page: &mut String,
        file: &FileDescriptorProto,
        path: &[i32],
        service: &ServiceDescriptorProto,
        own: &BTreeSet<String>,
    ) {
        let full = format!("{}{}", &self.package[1..], service.name());
        writeln!(page, "\n## {}\n", service.name()).unwrap();
        writeln!(page, "`{full}`. {}", comment(file, path)).unwrap();
        for (index, method) in service.method.iter().enumerate() {
            let path = [path, &[SERVICE_METHODS, number(index)]].concat();
            writeln!(page, "\n### {}\n", method.name()).unwrap();
            writeln!(page, "{}", comment(file, &path)).unwrap();
            self.call(page, method, own);
        }
    }

    fn call(&self, page: &mut String, method: &MethodDescriptorProto, own: &BTreeSet<String>) {
        for (what, name, streams) in [
            ("Request", method.input_type(), method.client_streaming()),
            ("Reply", method.output_type(), method.server_streaming()),
        ] {
            let stream = if streams { "a stream of " } else { "" };
            writeln!(page, "\n**{what}**: {stream}{}\n", self.name_of(name, own)).unwrap();
            if let Some(message) = self.messages.get(name).filter(|_| own.contains(name)) {
                self.message(page, message);
            }
        }
        // The last table or sentence ends with one line break.
        page.truncate(page.trim_end().len());
        page.push('\n');
    }

    /// A link, unless the message is documented with the call.
    fn name_of(&self, name: &str, own: &BTreeSet<String>) -> String {
        if own.contains(name) {
            return format!("`{}`", self.short(name));
        }
        self.link(name)
    }

    fn message(&self, page: &mut String, message: &CommentedMessage<'_>) {
        let text = comment(message.file, &message.path);
        let text = without_redundant_start(&text);
        if !text.is_empty() {
            writeln!(page, "{text}\n").unwrap();
        }
        if message.descriptor.field.is_empty() {
            writeln!(page, "No fields.").unwrap();
            return;
        }
        writeln!(page, "| field | type | meaning |\n| --- | --- | --- |").unwrap();
        for (index, field) in message.descriptor.field.iter().enumerate() {
            let path = [&message.path[..], &[MESSAGE_FIELDS, number(index)]].concat();
            let meaning = cell(&comment(message.file, &path));
            let (name, of) = (field.name(), self.type_of(message.descriptor, field));
            writeln!(page, "| `{name}` | {of} | {meaning} |").unwrap();
        }
    }

    fn type_of(&self, message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
        if let Some(entry) = self.map_entry(field) {
            let key = self.type_of(entry, &entry.field[0]);
            let value = self.type_of(entry, &entry.field[1]);
            return format!("map of {key} to {value}");
        }
        let kind = field.r#type();
        let name = if matches!(kind, Type::Message | Type::Enum | Type::Group) {
            self.link(field.type_name())
        } else {
            kind.as_str_name()
                .trim_start_matches("TYPE_")
                .to_lowercase()
        };
        if field.label() == Label::Repeated {
            return format!("repeated {name}");
        }
        if field.proto3_optional() {
            return format!("optional {name}");
        }
        match field.oneof_index {
            Some(index) => {
                let of = &message.oneof_decl[usize::try_from(index).unwrap()];
                format!("{name}, one of `{}`", of.name())
            }
            None => name,
        }
    }

    fn map_entry(&self, field: &FieldDescriptorProto) -> Option<&'a DescriptorProto> {
        let message = self.messages.get(field.type_name())?;
        is_map_entry(message.descriptor).then_some(message.descriptor)
    }

    fn short<'n>(&self, name: &'n str) -> &'n str {
        name.strip_prefix(&self.package).unwrap_or(&name[1..])
    }

    fn link(&self, name: &str) -> String {
        let short = self.short(name);
        if self.messages.contains_key(name) || self.enums.contains_key(name) {
            return format!("[{short}](#{})", anchor(short));
        }
        format!("`{short}`")
    }
}

fn enumeration(page: &mut String, of: &CommentedEnum<'_>) {
    writeln!(page, "{}\n", comment(of.file, &of.path)).unwrap();
    writeln!(page, "| value | number | meaning |\n| --- | --- | --- |").unwrap();
    for (index, value) in of.descriptor.value.iter().enumerate() {
        let path = [&of.path[..], &[ENUM_VALUES, number(index)]].concat();
        let meaning = cell(&comment(of.file, &path));
        writeln!(
            page,
            "| `{}` | {} | {meaning} |",
            value.name(),
            value.number()
        )
        .unwrap();
    }
}

fn is_map_entry(message: &DescriptorProto) -> bool {
    message
        .options
        .as_ref()
        .is_some_and(|options| options.map_entry())
}

/// The comment on an element of a file. The lint of buf ensures that there is one.
fn comment(file: &FileDescriptorProto, path: &[i32]) -> String {
    let found = file
        .source_code_info
        .iter()
        .flat_map(|info| &info.location)
        .find(|location| location.path == path);
    let text = found.map_or("", |location| location.leading_comments());
    let lines: Vec<&str> = text
        .lines()
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    lines.join("\n").trim().to_owned()
}

/// "Request of X." is redundant in the section of X.
fn without_redundant_start(text: &str) -> &str {
    if !text.starts_with("Request of") && !text.starts_with("Reply of") {
        return text;
    }
    let more = text.split_once(". ").or_else(|| text.split_once(".\n"));
    more.map_or("", |(_, more)| more.trim())
}

/// A text as one cell of a table.
fn cell(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}

/// The anchor of a heading.
fn anchor(heading: &str) -> String {
    heading
        .chars()
        .filter(|c| c.is_alphanumeric() || *c == '_' || *c == '-')
        .collect::<String>()
        .to_lowercase()
}

fn number(index: usize) -> i32 {
    i32::try_from(index).unwrap()
}

//! The JSON schemas: the files in `runtime/edge/schema` are those of the types, and are schemas.

use r2d_edge::wire::schemas;
use r2d_tests::golden;
use std::path::Path;

#[test]
fn the_schema_files_are_those_of_the_types() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/edge/schema");
    std::fs::create_dir_all(&folder).unwrap();
    let mut names = Vec::new();
    for (name, schema) in schemas() {
        let file = format!("{name}.json");
        golden::check(&folder.join(&file), &(serde_json::to_string_pretty(&schema).unwrap() + "\n"));
        jsonschema::meta::validate(&schema).unwrap_or_else(|e| panic!("{name}: {e}"));
        names.push(file);
    }
    for entry in std::fs::read_dir(&folder).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        assert!(names.contains(&file), "{file} belongs to no type");
    }
}

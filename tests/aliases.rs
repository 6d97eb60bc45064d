//! The documentation is found by the original's names.

use std::fs;
use std::path::PathBuf;

/// Who knows a member by its original name finds it by that name in the documentation.
#[test]
fn every_original_spelling_is_an_alias() {
    let mut source = String::new();
    let mut folders = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension() {
                Some(ext) if ext == "rs" => source += &fs::read_to_string(path).unwrap(),
                _ => folders.extend(path.is_dir().then_some(path)),
            }
        }
    }
    let members = [
        "AtEnd",
        "BinaryData",
        "EndServer",
        "GWClientAddress",
        "NoCharSetConvert",
        "NoDataFraming",
        "OnClientMessage",
        "OnPostServer",
        "OnPreServer",
        "OpenServer",
        "Read",
        "SendAsyncMessage",
        "Server",
        "SessionEndOnClose",
        "SessionId",
        "SharedConnection",
        "UseSession",
        "WebSocketID",
        "Write",
    ];
    let of_session = [
        "AppTimeout",
        "Data",
        "EndSession",
        "NewSession",
        "OnEndSession",
        "OnStartSession",
        "OnTimeout",
    ];
    for name in members.into_iter().chain(of_session) {
        let alias = format!("#[doc(alias = \"{name}\")]");
        assert!(source.contains(&alias), "{name}");
    }
}

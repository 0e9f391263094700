//! What a client's statement may do, decided action by action while SQLite compiles it. Whatever is not
//! known here is denied.

use common::names::is_internal_table;
use common::{Error, ErrorCode};
use rusqlite::hooks::AuthAction;

use crate::attempted_rows::ATTEMPTED;
use crate::shipped_rows::SHIPPED_ROWS;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Reads a partition.
    Reader,
    /// Changes a partition's rows.
    Executor,
    /// Holds a schema without rows: statements are checked, DDL runs.
    Shadow,
    /// Holds gathered rows; the client's text runs there.
    Merge,
    /// Holds rows in tables as the client declared them; the client's writes are tried there.
    Trial,
}

/// Read forms of PRAGMA. They are answered where the schema is the client's alone.
const PRAGMAS: [&str; 6] =
    ["table_info", "table_xinfo", "table_list", "index_list", "index_info", "foreign_key_list"];

/// The PRAGMA by which SQLite looks at the rows of a table.
const CHECK_OF_ROWS: &str = "quick_check";

/// How SQLite calls a table, before its name, while ALTER TABLE looks at a new column. No client can name it.
const TABLE_BEING_ALTERED: &str = "sqlite_altertab_";

/// Functions that reach outside the database or into SQLite itself.
const FUNCTIONS_DENIED: [&str; 3] = ["load_extension", "fts3_tokenizer", "sqlite_log"];

/// Virtual tables that need no CREATE and show pages or memory instead of rows.
const TABLES_DENIED: [&str; 6] =
    ["dbstat", "sqlite_dbpage", "sqlite_stmt", "bytecode", "tables_used", "fts3tokenize"];

/// Why an action is denied, or `None` if it is allowed.
pub(crate) fn denial(role: Role, action: &AuthAction<'_>) -> Option<Error> {
    use AuthAction as A;
    let changes_schema = || match role {
        Role::Shadow => None,
        Role::Reader | Role::Executor | Role::Merge | Role::Trial => {
            forbidden("the schema cannot be changed here", "send DDL as a statement of its own")
        }
    };
    match action {
        A::Select | A::Recursive => None,
        A::Read { table_name, .. } => read_denial(role, table_name),
        A::Insert { table_name } | A::Update { table_name, .. } | A::Delete { table_name } => {
            write_denial(role, table_name)
        }
        A::Function { function_name } => FUNCTIONS_DENIED
            .iter()
            .any(|denied| denied.eq_ignore_ascii_case(function_name))
            .then(|| forbidden_error(format!("the function {function_name} is not allowed"), "")),
        A::Pragma { pragma_name, .. } => pragma_denial(role, pragma_name),
        A::CreateTable { .. }
        | A::CreateIndex { .. }
        | A::CreateView { .. }
        | A::DropTable { .. }
        | A::DropIndex { .. }
        | A::DropView { .. }
        | A::CreateTrigger { .. }
        | A::DropTrigger { .. }
        | A::AlterTable { .. }
        | A::Analyze { .. }
        | A::Reindex { .. } => changes_schema(),
        A::CreateVtable { .. } | A::DropVtable { .. } => unsupported("virtual tables are not supported"),
        A::CreateTempTable { .. }
        | A::CreateTempIndex { .. }
        | A::CreateTempView { .. }
        | A::CreateTempTrigger { .. }
        | A::DropTempTable { .. }
        | A::DropTempIndex { .. }
        | A::DropTempView { .. }
        | A::DropTempTrigger { .. } => {
            forbidden("TEMP objects are not allowed", "use an ordinary table, or a WITH clause")
        }
        A::Transaction { .. } | A::Savepoint { .. } => forbidden(
            "transaction control is not allowed in SQL",
            "a request is one transaction; for more use POST /databases/{db}/transactions",
        ),
        A::Attach { .. } => forbidden("ATTACH and VACUUM are not allowed", "a database is one namespace"),
        A::Detach { .. } => forbidden("DETACH is not allowed", "a database is one namespace"),
        _ => forbidden("the statement is not allowed", ""),
    }
}

/// Whether it is what ALTER TABLE … ADD COLUMN does itself to see whether the rows bear a new CHECK or NOT NULL: it
/// reads `pragma_quick_check`.
pub(crate) fn is_check_of_rows(role: Role, action: &AuthAction<'_>) -> bool {
    let is_check = match action {
        AuthAction::Pragma { pragma_name, .. } => *pragma_name == CHECK_OF_ROWS,
        AuthAction::Read { table_name, .. } => table_name.strip_prefix("pragma_") == Some(CHECK_OF_ROWS),
        _ => false,
    };
    is_check && role == Role::Shadow
}

fn read_denial(role: Role, table: &str) -> Option<Error> {
    if TABLES_DENIED.iter().any(|denied| denied.eq_ignore_ascii_case(table)) {
        return internal_table(table);
    }
    if let Some(pragma) = table.strip_prefix("pragma_") {
        return pragma_denial(role, pragma);
    }
    if is_schema_table(table) {
        // On a partition the schema holds our tables too; the shadow's holds the client's alone, as does that of a trial
        // which reads it.
        return match role {
            Role::Shadow | Role::Trial => None,
            Role::Reader | Role::Executor | Role::Merge => {
                forbidden("the schema is not read on a partition", "")
            }
        };
    }
    if role == Role::Shadow && table.starts_with(TABLE_BEING_ALTERED) {
        return None;
    }
    let open = is_statistics_table(table)
        || table.eq_ignore_ascii_case("sqlite_sequence")
        || is_unique_index_table(table)
        || matches!(role, Role::Reader | Role::Merge | Role::Trial) && table == SHIPPED_ROWS;
    if open || !is_internal_table(table) { None } else { internal_table(table) }
}

fn write_denial(role: Role, table: &str) -> Option<Error> {
    // DDL writes these itself while it is compiled; SQLite refuses a statement that names them.
    let by_ddl = role == Role::Shadow
        && (is_schema_table(table)
            || is_statistics_table(table)
            || table.eq_ignore_ascii_case("sqlite_sequence"));
    if role == Role::Reader {
        return forbidden("this route only reads", "send writes with POST");
    }
    let is_altered = role == Role::Shadow && table.starts_with(TABLE_BEING_ALTERED);
    let is_copy = role == Role::Trial && table.starts_with(ATTEMPTED);
    if by_ddl || is_altered || is_copy || !is_internal_table(table) { None } else { internal_table(table) }
}

fn pragma_denial(role: Role, name: &str) -> Option<Error> {
    let known = PRAGMAS.iter().any(|pragma| pragma.eq_ignore_ascii_case(name));
    if known && matches!(role, Role::Shadow | Role::Trial) {
        return None;
    }
    forbidden(
        "this PRAGMA is not allowed",
        "table_info, table_xinfo, table_list, index_list, index_info and foreign_key_list can be read",
    )
}

/// `sqlite_schema` under all its names.
fn is_schema_table(table: &str) -> bool {
    ["sqlite_master", "sqlite_schema", "sqlite_temp_master", "sqlite_temp_schema"]
        .iter()
        .any(|name| name.eq_ignore_ascii_case(table))
}

fn is_statistics_table(table: &str) -> bool {
    ["sqlite_stat1", "sqlite_stat4"].iter().any(|name| name.eq_ignore_ascii_case(table))
}

/// The hidden tables that keep values unique over partitions hold clients' values. Whoever writes looks
/// them up; the shadow does not have them, so that no client can name them.
fn is_unique_index_table(table: &str) -> bool {
    table.starts_with("_unique_")
}

/// The refusal of a statement that names a table of the system.
fn internal_table(table: &str) -> Option<Error> {
    Some(forbidden_error(
        format!("the table {table} is internal"),
        "names that begin with '_' or 'sqlite_' belong to the system",
    ))
}

fn forbidden(message: &str, hint: &str) -> Option<Error> {
    Some(forbidden_error(message.to_owned(), hint))
}

fn forbidden_error(message: String, hint: &str) -> Error {
    let error = Error::new(ErrorCode::SqlForbidden, message);
    if hint.is_empty() { error } else { error.with_hint(hint) }
}

fn unsupported(message: &str) -> Option<Error> {
    Some(Error::not_supported(message, "leave it out"))
}

//! The connection that lands committed entries: rows as values, checked DDL, and the system tables.

use std::cell::RefCell;
use std::sync::Arc;

use common::entry::{Change, Effect, Effects};
use common::names::quote_identifier;
use common::row::ValueRef;
use common::{Error, ErrorCode};
use rusqlite::config::DbConfig;
use rusqlite::ffi;

use crate::connection::{ClientStatement, Connection, first_word, ours};
use crate::error::{Failure, Result};
use crate::executor::land_surely;
use crate::layout::{Layout, Layouts, schema_cookie};
use crate::recipe::{self, Location};
use crate::row_images::{layout_at, layouts_of};
use crate::system::{System, SystemState};
use crate::table_sums::{self, Before, ChangeSums, Digest, TableSums};
use crate::touched_keys::{KeyWatch, TouchedKeys, WatchList, rowid_of};

/// What a database file is, before it is opened for applying.
#[derive(Clone, Debug, PartialEq)]
pub enum FileContents {
    /// There is no file.
    Absent,
    /// A file without system tables: its making was interrupted. It holds nothing, its applied index is 0.
    Unformed,
    /// A replica's file.
    Replica(Box<SystemState>),
}

/// The applying connection of a replica.
///
/// [`begin`](Applier::begin), any number of log entries, then [`commit`](Applier::commit): their rows and
/// the applied index change together or not at all.
pub struct Applier {
    connection: Connection,
    layouts: Arc<Layouts>,
    /// Told of rows while what they come from reads through the connection.
    watch: RefCell<KeyWatch>,
    open: bool,
}

impl Applier {
    /// Says what the file is.
    pub fn inspect(location: &Location) -> Result<FileContents> {
        let connection = match recipe::applier(location, false) {
            Ok(connection) => connection,
            Err(Failure::Storage { code, .. }) if is_missing(location, code)? => {
                return Ok(FileContents::Absent);
            }
            Err(other) => return Err(other),
        };
        if !System::exists(connection.raw())? {
            return Ok(FileContents::Unformed);
        }
        Ok(FileContents::Replica(Box::new(System::of(connection.raw()).state()?)))
    }

    /// Makes a replica's file with its system tables, in one transaction. A file whose making was
    /// interrupted is finished.
    ///
    /// # Errors
    /// [`Failure::Storage`] also if the file is a replica's already.
    pub fn create(location: &Location, state: &SystemState) -> Result<Applier> {
        let connection = recipe::applier(location, true)?;
        if System::exists(connection.raw())? {
            return Err(Failure::Storage {
                code: ffi::SQLITE_MISUSE,
                message: format!("{} holds a replica already", location.path.display()),
            });
        }
        connection.run(ours!("BEGIN IMMEDIATE"))?;
        System::create(connection.raw(), state)?;
        connection.run(ours!("COMMIT"))?;
        Applier::over(connection)
    }

    /// Opens a replica's file.
    ///
    /// # Errors
    /// [`Failure::Storage`] also if the file is absent or not a replica's, see [`Applier::inspect`].
    pub fn open(location: &Location) -> Result<Applier> {
        let connection = recipe::applier(location, false)?;
        if !System::exists(connection.raw())? {
            return Err(Failure::diverged(format!("{} is not a replica's file", location.path.display())));
        }
        Applier::over(connection)
    }

    fn over(connection: Connection) -> Result<Applier> {
        let layouts = Arc::new(Layouts::read(connection.raw())?);
        Ok(Applier { connection, layouts, watch: RefCell::default(), open: false })
    }

    /// Opens a transaction.
    ///
    /// # Panics
    /// If one is open.
    pub fn begin(&mut self) -> Result<()> {
        assert!(!self.open, "a transaction is open already");
        self.connection.run(ours!("BEGIN IMMEDIATE"))?;
        self.open = true;
        let followed = self.follow_schema();
        if followed.is_err() {
            self.rollback();
        }
        followed
    }

    /// Whether a transaction is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Lands rows, and answers what that does to the tables' sums. A failure means that the replica's rows are not
    /// those of the log.
    ///
    /// # Panics
    /// If no transaction is open.
    pub fn apply(&mut self, effects: &Effects) -> Result<TableSums> {
        assert!(self.open, "no transaction is open");
        let tables = layouts_of(&self.layouts, &effects.tables)?;
        let mut sums = ChangeSums::default();
        effects.rows.iter().try_for_each(|effect| self.land(&tables, effect, &mut sums))?;
        Ok(sums.of(&effects.tables))
    }

    fn land(&self, tables: &[&Layout], effect: &Effect, sums: &mut ChangeSums) -> Result<()> {
        let (raw, layout) = (self.connection.raw(), layout_at(tables, effect.table)?);
        let old = sums.old(raw, layout, &effect.change, &mut self.watch.borrow_mut())?;
        land_surely(raw, layout, effect)?;
        sums.count(layout, effect, old);
        if let Change::Insert { key, row } | Change::Update { key, row, .. } = &effect.change {
            let column = |at| row.get(at).map_or(ValueRef::Null, ValueRef::from);
            self.watch.borrow_mut().touch(layout, rowid_of(key), column);
        }
        Ok(())
    }

    /// Notes which keys of some columns are touched, from now on.
    pub fn watch(&mut self, list: &WatchList) {
        self.watch.get_mut().watch(list, &self.layouts);
    }

    /// The keys that were touched since this was last asked.
    pub fn take_touched(&mut self) -> TouchedKeys {
        self.watch.get_mut().take()
    }

    /// Lands rows as they come. An error of the source ends it.
    ///
    /// # Panics
    /// If no transaction is open.
    pub fn apply_each<E: From<Failure>>(
        &self,
        tables: &[String],
        effects: &mut dyn Iterator<Item = std::result::Result<Effect, E>>,
    ) -> std::result::Result<TableSums, E> {
        assert!(self.open, "no transaction is open");
        let layouts = layouts_of(&self.layouts, tables)?;
        let mut sums = ChangeSums::default();
        for effect in effects {
            self.land(&layouts, &effect?, &mut sums)?;
        }
        Ok(sums.of(tables))
    }

    /// The digest of everything that is replicated, as the open transaction, or else the last commit, has it.
    pub fn digest(&self, sums: &TableSums) -> Result<Digest> {
        table_sums::digest(self.connection.raw(), sums)
    }

    /// Runs checked DDL and sets the schema's version; answers the tables' sums afterwards, given those before, or
    /// `None` if the schema has that version or a later one already. On a refusal (a unique index over rows that are not unique) nothing is changed, and it
    /// is the same on every replica.
    ///
    /// # Panics
    /// If no transaction is open.
    pub fn change_schema(
        &mut self,
        version: u64,
        statements: &[String],
        sums: &TableSums,
    ) -> Result<Option<TableSums>> {
        assert!(self.open, "no transaction is open");
        if self.system().schema_version()? >= version {
            return Ok(None);
        }
        let (mut before, layouts) = (Before::note(self.connection.raw())?, Arc::clone(&self.layouts));
        self.connection.run(ours!("SAVEPOINT schema"))?;
        // Rows that come from the log were checked before; those that get a new column were not.
        self.connection.run(ours!("PRAGMA ignore_check_constraints=OFF"))?;
        let done = statements
            .iter()
            .try_for_each(|sql| {
                self.define(sql)?;
                before.follow(self.connection.raw(), sql)
            })
            .and_then(|()| check_stored_text(&self.connection))
            .and_then(|()| self.system().set_schema_version(version));
        self.connection.run(ours!("PRAGMA ignore_check_constraints=ON"))?;
        if done.is_err() {
            self.connection.run(ours!("ROLLBACK TO schema"))?;
        }
        self.connection.run(ours!("RELEASE schema"))?;
        done?;
        self.follow_schema()?;
        Ok(Some(before.sums_after(self.connection.raw(), sums, (&layouts, &self.layouts))?))
    }

    /// Runs a statement of DDL.
    fn define(&self, sql: &str) -> Result<()> {
        let raw = self.connection.raw();
        // Only where foreign keys are looked at does SQLite refuse to give rows a new column that refers to another
        // table and has a value.
        let adds_reference =
            first_word(sql).eq_ignore_ascii_case("ALTER") && sql.to_ascii_uppercase().contains("REFERENCES");
        raw.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, adds_reference)?;
        let done = raw.execute_batch(sql);
        raw.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false)?;
        Ok(done?)
    }

    /// The system tables, as the open transaction sees and changes them.
    #[must_use]
    pub fn system(&self) -> System<'_> {
        System::of(self.connection.raw())
    }

    /// Commits.
    ///
    /// # Panics
    /// If no transaction is open.
    pub fn commit(&mut self) -> Result<()> {
        assert!(self.open, "no transaction is open");
        let done = self.connection.run(ours!("COMMIT"));
        match done {
            Ok(()) => self.open = false,
            Err(_) => self.rollback(),
        }
        done
    }

    /// Undoes everything since [`Applier::begin`].
    pub fn rollback(&mut self) {
        if !self.connection.raw().is_autocommit() {
            // The only failure is that SQLite has rolled back already.
            let _ = self.connection.run(ours!("ROLLBACK"));
        }
        self.open = false;
    }

    fn follow_schema(&mut self) -> Result<()> {
        if schema_cookie(self.connection.raw())? != self.layouts.schema_cookie {
            self.layouts = Arc::new(Layouts::read(self.connection.raw())?);
            self.watch.get_mut().resolve(&self.layouts);
        }
        Ok(())
    }
}

/// Whether a file could not be opened because there is none. One that may not be read is there.
fn is_missing(location: &Location, code: i32) -> Result<bool> {
    if code & 0xff != ffi::SQLITE_CANTOPEN {
        return Ok(false);
    }
    if location.vfs.is_some() {
        return Ok(true);
    }
    location
        .path
        .try_exists()
        .map(|exists| !exists)
        .map_err(|error| Failure::Storage { code, message: format!("{}: {error}", location.path.display()) })
}

/// Refuses views that read the system's tables, which compiling CREATE VIEW does not notice, and triggers,
/// which would run with the rights of whoever changes the table.
fn check_stored_text(connection: &Connection) -> Result<()> {
    let sql = ours!("SELECT type, name FROM sqlite_schema WHERE type IN ('view', 'trigger')");
    let objects: Vec<(String, String)> = {
        let mut statement = connection.raw().prepare_cached(sql)?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect::<rusqlite::Result<_>>()?
    };
    for (kind, name) in objects {
        if kind == "trigger" {
            return Err(Error::not_supported("triggers are not supported", "leave it out").into());
        }
        let read = format!("SELECT * FROM {}", quote_identifier(&name));
        let compiled = connection.as_client(|raw| ClientStatement::prepare(raw, &read).map(|_| ()));
        // A view over a table that is gone does not compile, and can be read by nobody.
        if let Err(failure) = compiled
            && failure.code() != Some(ErrorCode::SqlError)
        {
            return Err(failure);
        }
    }
    Ok(())
}

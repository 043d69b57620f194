//! The same reads and writes as an update makes, on a bare connection with held statements.

use rusqlite::{Connection, Statement, params};

use crate::load::{USERS, identifier, picked_to_update, user};

/// How events are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// As the store does it: in the order of commits, each with the number of its token's event before
    /// it.
    Chained,
    /// As the store did it before: in the order of their times, with an index by token. The table for
    /// it is made beside that of the store.
    Indexed,
}

const INDEXED: &str = "\
    CREATE TABLE IF NOT EXISTS indexed_event (\
      at INTEGER NOT NULL, id BLOB NOT NULL, token BLOB NOT NULL, identifier TEXT NOT NULL, \
      owner INTEGER NOT NULL, revision INTEGER NOT NULL, kind TEXT NOT NULL, \
      changed INTEGER NOT NULL, actor INTEGER, PRIMARY KEY (at, id)) STRICT, WITHOUT ROWID; \
    CREATE INDEX IF NOT EXISTS indexed_event_token ON indexed_event (token, revision, at, id)";

/// The statements of an update.
#[derive(Debug)]
pub struct Statements<'a> {
    tokens: u64,
    layout: Layout,
    caller: Statement<'a>,
    groups: Statement<'a>,
    find: Statement<'a>,
    begin_read: Statement<'a>,
    begin: Statement<'a>,
    update: Statement<'a>,
    event: Statement<'a>,
    commit: Statement<'a>,
}

impl<'a> Statements<'a> {
    /// Those for a file with so many tokens.
    pub fn on(bare: &'a Connection, tokens: u64) -> Self {
        Self::in_layout(bare, tokens, Layout::Chained)
    }

    /// Those that write events in this layout.
    pub fn in_layout(bare: &'a Connection, tokens: u64, layout: Layout) -> Self {
        if layout == Layout::Indexed {
            bare.execute_batch(INDEXED).unwrap();
        }
        let prepare = |sql| bare.prepare(sql).unwrap();
        Self {
            tokens,
            layout,
            caller: prepare("SELECT * FROM user_account WHERE id = ?1"),
            groups: prepare(
                "WITH RECURSIVE own (id) AS (\
                   SELECT user_group FROM group_member WHERE user = ?1 \
                   UNION \
                   SELECT parent FROM user_group JOIN own USING (id) WHERE parent IS NOT NULL\
                 ) SELECT * FROM user_group JOIN own USING (id)",
            ),
            find: prepare("SELECT * FROM token WHERE identifier = ?1"),
            begin_read: prepare("BEGIN"),
            begin: prepare("BEGIN IMMEDIATE"),
            update: prepare(match layout {
                Layout::Chained => {
                    "UPDATE token SET revision = ?1, updated = ?2, description = ?3, \
                     last_event = (SELECT max(number) FROM event) WHERE id = ?4 AND revision = ?5"
                }
                Layout::Indexed => {
                    "UPDATE token SET revision = ?1, updated = ?2, description = ?3 \
                     WHERE id = ?4 AND revision = ?5"
                }
            }),
            event: prepare(match layout {
                Layout::Chained => {
                    "INSERT INTO event (at, id, token, identifier, owner, revision, kind, changed, \
                       actor, previous) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'updated', 16, ?5, \
                       (SELECT last_event FROM token WHERE id = ?3))"
                }
                Layout::Indexed => {
                    "INSERT INTO indexed_event \
                       (at, id, token, identifier, owner, revision, kind, changed, actor) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'updated', 16, ?5)"
                }
            }),
            commit: prepare("COMMIT"),
        }
    }

    /// Several updates in one transaction.
    pub fn update_together(&mut self, calls: impl IntoIterator<Item = u64>) {
        let read: Vec<_> = calls.into_iter().map(|call| (call, self.read(call))).collect();
        self.begin.execute(()).unwrap();
        for (call, found) in read {
            self.write(call, found);
        }
        self.commit.execute(()).unwrap();
    }

    /// The caller with its groups, and the token.
    fn read(&mut self, call: u64) -> ([u8; 16], i64, String) {
        let number = picked_to_update(call, self.tokens);
        let caller = user(number % USERS).get();
        self.begin_read.execute(()).unwrap();
        let active: bool = self.caller.query_row([caller], |row| row.get("is_active")).unwrap();
        assert!(active);
        assert!(!self.groups.exists([caller]).unwrap());
        self.commit.execute(()).unwrap();
        let found = self.find.query_row([identifier(number)], |row| {
            Ok((row.get("id")?, row.get("revision")?, row.get("identifier")?))
        });
        found.unwrap()
    }

    fn write(&mut self, call: u64, (id, revision, name): ([u8; 16], i64, String)) {
        let caller = user(picked_to_update(call, self.tokens) % USERS).get();
        let now = 1_700_000_000_000_000 + call.cast_signed();
        let text = format!("changed by call {call}");
        let event_id = uuid::Uuid::from_u128(u128::from(call)).into_bytes();
        let event = params![now, event_id, id, name, caller, revision + 1];
        // A chained event comes first: the token's row then holds its number.
        if self.layout == Layout::Chained {
            self.event.execute(event).unwrap();
        }
        // A call may pick a token twice in one transaction: the second finds it changed.
        let changed = self.update.execute(params![revision + 1, now, text, id, revision]).unwrap();
        if changed == 1 && self.layout == Layout::Indexed {
            self.event.execute(event).unwrap();
        }
    }
}

//! The same reads and writes as an update makes, on a bare connection with held statements.

use rusqlite::{Connection, Statement, params};

use crate::load::{USERS, identifier, picked_to_update, user};

/// The statements of an update.
#[derive(Debug)]
pub struct Statements<'a> {
    tokens: u64,
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
        let prepare = |sql| bare.prepare(sql).unwrap();
        Self {
            tokens,
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
            update: prepare(
                "UPDATE token SET revision = ?1, updated = ?2, description = ?3 \
                 WHERE id = ?4 AND revision = ?5",
            ),
            event: prepare(
                "INSERT INTO event (at, id, token, identifier, owner, revision, kind, changed, actor) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'updated', 16, ?5)",
            ),
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
        // A call may pick a token twice in one transaction: the second finds it changed.
        let changed = self.update.execute(params![revision + 1, now, text, id, revision]).unwrap();
        if changed == 1 {
            let event_id = uuid::Uuid::from_u128(u128::from(call)).into_bytes();
            self.event.execute(params![now, event_id, id, name, caller, revision + 1]).unwrap();
        }
    }
}

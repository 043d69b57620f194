//! Does a page cost the same wherever it is?
//!
//! A hundred tokens behind a cursor anywhere in a million, through the service, beside the first
//! hundred.

use tokenkeep::{Caller, Cursor, Filter, TokenList, TokenQuery};
use tokenkeep_sqlite::SqliteOptions;

use crate::compare::compare;
use crate::files::Files;
use crate::finding::{Findings, Row};
use crate::goal::Unit;
use crate::load::{pick, service, token};
use crate::scale::Scale;

/// Measures it.
pub fn measure(scale: &Scale) -> Findings {
    let files = Files::new(&SqliteOptions::new(), scale.many);
    let service = service(&files.store);
    let list = TokenList::new().page_size(100);
    let page = |cursor: Option<Cursor>| {
        let page = service.list_from(&Caller::System, &list, cursor);
        assert_eq!(pollster::block_on(page).unwrap().tokens.len(), 100);
    };
    // The order of a list where nobody has asked for another.
    let order = TokenQuery { filter: Filter::default(), ..TokenQuery::default() }.token_order();
    let paired = compare(
        scale,
        200,
        |call| page(Some(order.behind(&token(pick(call, scale.many - 200))))),
        |_| page(None),
    );
    let note = format!("100 of {} tokens, with their owners", scale.many);
    let row = Row::ratio("cursor", paired, Unit::Seconds).noting(note);
    Findings { rows: vec![row], ..Findings::default() }
}

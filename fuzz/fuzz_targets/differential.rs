//! A body put together from values of the vectors, in any order, with repeated and unknown fields, is
//! judged field by field as the vectors judge each value, message by message; and what is accepted
//! becomes what it has become there.
#![no_main]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pollster::block_on;
use serde_json::{Map, Value, json};
use tokenkeep::{Caller, FieldError, TokenChange, TokenError, TokenField, TokenService, TokenView};
use tokenkeep_fuzz::bytes::Bytes;
use tokenkeep_fuzz::is_broken;
use tokenkeep_fuzz::pools::{FIELDS, Pools, Scene, Verdict, is_across, shown};
use tokenkeep_fuzz::world::{World, visit};

static POOLS: LazyLock<Pools> = LazyLock::new(Pools::read);

/// Fields that are read-only or unknown, whose values do not matter.
const OTHERS: [&str; 9] = [
    "pk",
    "user_obj",
    "key",
    "owner_may_view_key",
    "revision",
    "Identifier",
    "user ",
    "",
    "intent\\u0000",
];

fuzz_target!(|input: &[u8]| {
    let mut input = Bytes(input);
    let scene = &POOLS.scenes[input.below(POOLS.scenes.len())];
    let is_full = input.flag();
    let wish = Wish::draw(scene, &mut input);
    visit(|world| judge(world, scene, is_full, &wish));
});

/// A body, and what the vectors say of each known field in it.
#[derive(Debug)]
struct Wish {
    body: String,
    verdicts: BTreeMap<&'static str, Verdict>,
}

impl Wish {
    /// At most twenty members; of those that are repeated, the last counts.
    fn draw(scene: &Scene, input: &mut Bytes<'_>) -> Self {
        let mut members: Vec<(String, String)> = Vec::new();
        let mut verdicts = BTreeMap::new();
        while !input.is_empty() && members.len() < 20 {
            let number = input.below(FIELDS.len() + OTHERS.len());
            let any = &POOLS.values[input.below(POOLS.values.len())];
            let place = input.below(usize::from(u16::MAX));
            let field = FIELDS.get(number).copied();
            let pool = field.and_then(|field| Some((field, POOLS.of(scene, field)?)));
            if let Some((field, pool)) = pool {
                // Whatever came before it does not count.
                if place.is_multiple_of(8) {
                    members.push((spell(field, place), any.clone()));
                }
                let (value, verdict) = pool.iter().nth(place % pool.len()).unwrap();
                members.push((spell(field, input.byte().into()), value.clone()));
                verdicts.insert(field, verdict.clone());
            } else if field.is_none() {
                let name = OTHERS[number - FIELDS.len()];
                members.push((format!("\"{name}\""), any.clone()));
            }
        }
        Self { body: object(&members), verdicts }
    }
}

/// A name in quotes; each bit says that a letter is escaped.
fn spell(name: &str, bits: usize) -> String {
    let mut spelled = String::from('"');
    for (place, c) in name.chars().enumerate() {
        if bits >> (place % 8) & 1 == 1 && place > 2 {
            write!(spelled, "\\u{:04x}", u32::from(c)).unwrap();
        } else {
            spelled.push(c);
        }
    }
    spelled + "\""
}

fn object(members: &[(String, String)]) -> String {
    let members: Vec<_> = members.iter().map(|(name, value)| format!("{name} :{value}")).collect();
    format!("{{{}\n}}", members.join(",\t"))
}

fn judge(world: &World, scene: &Scene, is_full: bool, wish: &Wish) {
    let mut refused: Map<_, _> = Map::new();
    for (field, verdict) in &wish.verdicts {
        if let Verdict::Refused(messages) = verdict {
            refused.insert((*field).to_owned(), messages.clone().unwrap_or_default());
        }
    }
    let must_be_named = is_full || scene.identifier.is_none();
    if must_be_named && !wish.verdicts.contains_key("identifier") {
        refused.insert("identifier".into(), json!(["This field is required."]));
    }
    let before = world.tokens();
    let result = send(&world.service, scene, is_full, &wish.body);
    match result {
        Ok(view) => {
            assert_eq!(refused, Map::new(), "accepted: {wish:?}");
            check_accepted(&view, scene, wish);
            world.bring_back(&before);
        }
        Err(TokenError::Invalid(errors)) => {
            assert_eq!(before, world.tokens());
            // Unlike authentik, tokenkeep leaves the identifier of a managed token to superusers.
            let renames = [FieldError::ManagedIdentifierForSuperusers];
            if refused.is_empty() && errors.get(TokenField::Identifier) == renames {
                return;
            }
            check_refused(TokenError::Invalid(errors).to_json(), &refused, wish);
        }
        Err(other) => panic!("{other:?} for {wish:?}"),
    }
}

fn send(
    service: &TokenService,
    scene: &Scene,
    is_full: bool,
    body: &str,
) -> Result<TokenView, TokenError> {
    // A product that forgets that there are NULs.
    let body = if is_broken() { body.replace("\\u0000", "") } else { body.to_owned() };
    let change = TokenChange::from_json(body.as_bytes());
    block_on(async {
        let caller: Caller =
            service.authenticate(Some(scene.authorization.as_bytes())).await?.caller();
        match &scene.identifier {
            Some(name) if is_full => Ok(service.update(&caller, name, change).await?.view),
            Some(name) => Ok(service.partial_update(&caller, name, change).await?.view),
            None => Ok(service.create(&caller, change).await?.view),
        }
    })
}

/// The fields that are refused are those of the vectors, and so are the messages; where there are none,
/// a rule across fields may refuse.
fn check_refused(mut refusal: Value, refused: &Map<String, Value>, wish: &Wish) {
    let told = refusal.as_object_mut().unwrap();
    assert_eq!(told.remove("code"), Some(json!("invalid")));
    if refused.is_empty() {
        assert!(is_across(&refusal), "{refusal} for {wish:?}");
        return;
    }
    for (field, messages) in refused.iter().filter(|(_, messages)| messages.is_null()) {
        let known = told.get_mut(field).unwrap_or_else(|| panic!("{field} is fine: {wish:?}"));
        // The messages of this value are free.
        assert!(known.as_array().is_some_and(|known| !known.is_empty()));
        *known = messages.clone();
    }
    assert_eq!(told, refused, "{wish:?}");
}

/// What a value has become in a vector, it becomes here.
fn check_accepted(view: &TokenView, scene: &Scene, wish: &Wish) {
    let token = serde_json::to_value(view).unwrap();
    for (field, verdict) in &wish.verdicts {
        let now = shown(&token, field, scene.identifier.is_some());
        if let (Verdict::Fine(Some(became)), Some(now)) = (verdict, now) {
            assert_eq!(now, *became, "{field} of {wish:?}");
        }
    }
}

"""Writes access.csv, from docs/SPEC.md alone: python3 tests/access.py > tests/access.csv

Each row is a caller ("who", with the permissions that it "holds": @all of them, @token on the token
in question, @elsewhere on another one) and a token. Each further column is an operation, and what
must come of it. A "-" is no cell of its own: a create does not depend on the column that differs.

The state that the table speaks of: no attribute of any user is set, so that tokens expire, after a
day at most; every token expires in an hour; the key that is set is long enough and nobody's.
"""

import csv
import sys

PERMISSIONS = ["view", "add", "change", "delete", "view_key", "set_key"]
SINGLE_USE = ["recovery", "verification"]


def at(place, permissions):
    return " ".join(f"{permission}@{place}" for permission in permissions)


def strangers():
    yield ""
    for permission in PERMISSIONS:
        for place in ["all", "token", "elsewhere"]:
            yield at(place, [permission])
    others = PERMISSIONS[1:]
    for other in others:
        yield at("all", ["view", other])
        yield at("token", ["view", other])
        yield at("all", ["view"]) + " " + at("token", [other])
        yield at("token", ["view"]) + " " + at("all", [other])
    for place in ["all", "token", "elsewhere"]:
        yield at(place, ["view", "view_key", "set_key"])
        yield at(place, others)
        yield at(place, PERMISSIONS)
    yield at("token", ["view"]) + " " + at("elsewhere", others)


def owners():
    yield ""
    for place in ["all", "token", "elsewhere"]:
        yield at(place, ["view_key"])
        yield at(place, ["set_key"])
        yield at(place, ["view", "add", "change", "delete"])
        yield at(place, PERMISSIONS)


def callers():
    for holds in owners():
        yield "owner", holds
    for holds in strangers():
        yield "stranger", holds
    for who in ["superuser", "system", "nobody"]:
        yield who, ""
    for who in ["inactive owner", "inactive stranger", "inactive superuser"]:
        yield who, at("all", PERMISSIONS)


class Cell:
    def __init__(self, who, holds, owner, intent, managed, may_view):
        self.owner, self.intent = owner, intent
        self.managed, self.may_view = managed == "yes", may_view == "yes"
        self.is_owner = who == "owner"
        self.is_system = who == "system"
        # "a superuser (everything), or the system itself"; an owner can be a superuser too.
        self.is_superuser = who in ["superuser", "system"] or (
            self.is_owner and owner == "superuser"
        )
        # "An inactive caller is refused everything, in process too"; who is not in the directory
        # is not an active user.
        self.is_refused = (
            who.startswith("inactive") or who == "nobody" or (self.is_owner and owner == "missing")
        )
        held = [grant.split("@") for grant in holds.split()]
        self.held = {name for name, place in held if place in ["all", "token"]}
        # "The key of a superuser's token, and of any recovery or verification token, is a
        # superuser's matter only." Of an owner who is missing nobody can say that it is no
        # superuser: the SPEC is silent, and a refusal is what does no harm.
        self.key_is_for_superusers = owner in ["superuser", "missing"] or intent in SINGLE_USE

    # Access

    def sees(self):
        return self.is_superuser or self.is_owner or "view" in self.held

    def may(self, permission):
        return self.is_superuser or self.is_owner or permission in self.held

    def may_view_key(self):
        return "view_key" in self.held or (self.is_owner and self.may_view)

    def may_with_key(self, holds):
        return self.is_superuser or (holds and not self.key_is_for_superusers)

    def judged(self, allowed, then="ok"):
        """Not found, then forbidden, then what the operation says itself."""
        if self.is_refused:
            return "inactive"
        if not self.sees():
            return "not_found"
        return then if allowed else "forbidden"

    # Operations

    def retrieve(self):
        return self.judged(True)

    used_by = retrieve

    def list(self):
        seen = self.judged(True)
        return "not_listed" if seen == "not_found" else seen

    def changed(self, then="ok"):
        return self.judged(self.may("change"), then)

    update = partial_update = changed

    def change_managed(self):
        return self.changed("ok" if self.is_superuser else "invalid:managed")

    def change_user(self):
        return self.changed("invalid:user")

    def change_intent(self):
        """From api to app_password and back; of a single-use token, to api."""
        return self.changed("invalid:intent" if self.intent in SINGLE_USE else "ok")

    def make_single_use(self):
        """To recovery, and from recovery to verification."""
        return self.changed("invalid:intent")

    def stop_expiring(self):
        return self.changed("ok" if self.is_superuser else "invalid:expiring")

    def prolong(self):
        """By an hour, within the maximum lifetime."""
        kept = self.intent in SINGLE_USE and not self.is_superuser
        return self.changed("invalid:expires" if kept else "ok")

    def prolong_too_far(self):
        """Beyond the maximum lifetime; the expiry of an api token is not chosen at all."""
        return self.changed("ok" if self.intent == "api" else "invalid:expires")

    def delete(self):
        return self.judged(self.may("delete"))

    def view_key(self):
        return self.judged(self.may_with_key(self.may_view_key()))

    def set_key(self):
        return self.judged(self.may_with_key("set_key" in self.held))

    def rotate(self):
        allowed = self.may_with_key(self.is_owner and self.may_view_key())
        return self.judged(allowed, "invalid:intent" if self.intent in SINGLE_USE else "ok")

    # Create: of this intent and with a marker or not

    def create_for_self(self):
        if self.owner != "ordinary" or self.may_view:
            return "-"
        # "user default the caller", and the system is no user.
        return self.created("user" if self.is_system else None)

    def create_for_other(self):
        """For another user of the owner's kind, who is not the caller."""
        if self.may_view:
            return "-"
        refused = self.owner == "missing" or not self.is_superuser
        return self.created("user" if refused else None)

    def created(self, user):
        if self.is_refused:
            return "inactive"
        managed = "managed" if self.managed and not self.is_superuser else None
        fields = sorted(field for field in [managed, user] if field)
        if not fields and self.intent in SINGLE_USE and not self.is_system:
            fields = ["intent"]
        return "invalid:" + "+".join(fields) if fields else "ok"


OPERATIONS = [
    "retrieve", "used_by", "list",
    "update", "partial_update", "change_managed", "change_user", "change_intent",
    "make_single_use", "stop_expiring", "prolong", "prolong_too_far",
    "delete", "view_key", "set_key", "rotate",
    "create_for_self", "create_for_other",
]


def main():
    table = csv.writer(sys.stdout, lineterminator="\n")
    given = ["who", "holds", "owner", "intent", "managed", "owner_may_view_key"]
    table.writerow(given + OPERATIONS)
    for who, holds in callers():
        for owner in ["ordinary", "superuser", "missing"]:
            for intent in ["api", "app_password", *SINGLE_USE]:
                for managed in ["no", "yes"]:
                    for may_view in ["no", "yes"]:
                        row = [who, holds, owner, intent, managed, may_view]
                        table.writerow(row + [getattr(Cell(*row), name)() for name in OPERATIONS])


main()

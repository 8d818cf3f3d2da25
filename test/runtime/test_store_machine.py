from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kubetask_controller.runtime.store import NAMESPACE_INDEX, Store
from support.runtime.script import View

NAMESPACES = ("one", "two")
COLORS = ("red", "green", "blue")
# An object's UID and resourceVersion settle its content, so each pair has colors of its own.
STATES = {
    ("u1", "1"): "",
    ("u1", "2"): "red",
    ("u1", "3"): "red+green",
    ("u2", "1"): "green+red+green",
    ("u2", "2"): "blue",
    ("u2", "3"): "",
}


@st.composite
def things(draw):
    (uid, version), color = draw(st.sampled_from(sorted(STATES.items())))
    namespace, name = draw(st.sampled_from(NAMESPACES)), draw(st.sampled_from("abcd"))
    return View(namespace, name, uid, version, color)


def by_color(obj):
    return obj.color.split("+") if obj.color else ()


class StoreAgainstDictionary(RuleBasedStateMachine):
    """A store says what a dictionary says that is searched from end to end."""

    def __init__(self):
        super().__init__()
        self.store = Store({"color": by_color}, scopes=NAMESPACES)
        self.model = {}
        self.versions = dict.fromkeys(NAMESPACES, "")
        self.late = False

    @rule(obj=things())
    def put(self, obj):
        key = (obj.namespace, obj.name)
        assert self.store.put(obj.namespace, obj) == self.model.get(key)
        self.model[key] = obj

    @rule(obj=things())
    def remove(self, obj):
        key = (obj.namespace, obj.name)
        assert self.store.remove(obj.namespace, *key) == self.model.pop(key, None)

    @rule(version=st.integers(1, 99).map(str), scope=st.sampled_from(NAMESPACES))
    def bookmark(self, version, scope):
        self.store.set_resource_version(scope, version)
        self.versions[scope] = version

    @rule(objects=st.lists(things()), scope=st.sampled_from(NAMESPACES), again=st.booleans())
    def replace(self, objects, scope, again):
        shard = self.store.new_shard()
        listed = {(o.namespace, o.name): o for o in objects if o.namespace == scope}
        for obj in listed.values():
            shard.put(obj)
        if again:
            shard.clear()
            for obj in listed.values():
                shard.put(obj)
        before = {key: obj for key, obj in self.model.items() if key[0] == scope}
        changes = self.store.replace(scope, shard, "100")
        assert changes.deleted == [o for key, o in before.items() if key not in listed]
        assert changes.added == [o for key, o in listed.items() if key not in before]
        for old, new in changes.updated:
            assert (before[old.namespace, old.name], listed[new.namespace, new.name]) == (old, new)
        told = {(new.namespace, new.name) for _, new in changes.updated}
        for key in before.keys() & listed.keys() - told:
            # Same UID and version is the same object; what was known stays.
            assert (before[key].uid, before[key].resource_version) == (
                listed[key].uid,
                listed[key].resource_version,
            )
            listed[key] = before[key]
        for key in before:
            del self.model[key]
        self.model |= listed
        self.versions[scope] = "100"

    @rule()
    def add_index(self):
        if not self.late:
            self.store.add_index("uid", lambda o: (o.uid,))
            self.late = True

    @invariant()
    def reads_agree(self):
        everything = self.model.values()
        assert sorted(self.store.list(), key=repr) == sorted(everything, key=repr)
        assert len(self.store) == len(self.model)
        for key, obj in self.model.items():
            assert self.store.get(*key) == obj
        for scope in NAMESPACES:
            assert self.store.resource_version(scope) == self.versions[scope]
        self.agrees("color", COLORS, by_color)
        self.agrees(NAMESPACE_INDEX, NAMESPACES, lambda o: (o.namespace,))
        if self.late:
            self.agrees("uid", ("u1", "u2"), lambda o: (o.uid,))

    def agrees(self, index, values, function):
        for value in values:
            expected = [o for o in self.model.values() if value in function(o)]
            found = self.store.by_index(index, value)
            assert sorted(found, key=repr) == sorted(expected, key=repr)

    def teardown(self):
        for shard in self.store._shards.values():
            held = {value for obj in shard.items.values() for value in by_color(obj)}
            assert set(shard.index_values("color")) == held, "values that no object has are pruned"


StoreAgainstDictionary.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None
)
TestStore = StoreAgainstDictionary.TestCase

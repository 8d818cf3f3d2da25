"""Server-side apply removes the fields that a manager no longer applies."""

from devcluster.apiserver.fieldset import above_nothing, difference


def test_a_map_stays_as_long_as_something_in_it_is_owned():
    owned = {"f:labels": {".": {}, "f:a": {}}, "f:annotations": {".": {}, "f:b": {}}}
    kept = {"f:labels": {"f:a": {}}}
    gone = above_nothing(difference(owned, kept), kept)
    assert gone == {"f:annotations": {".": {}, "f:b": {}}}

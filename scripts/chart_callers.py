"""Asserts who may call what helm/recsys installs: exactly one answer in each
variant, and a generated key that fits its tenants file and is in no pod. A part
of scripts/chart_facts.py."""

import base64
import hashlib
import re
import tomllib

# How recsys knows who may call, where it is not by a generated key.
KNOWS_CALLERS_BY = {
    "own-tenants": {"RECSYS_TENANTS_PATH": "/etc/recsys-tenants/tenants.toml"},
    "client-certificates": {"RECSYS_TENANTS_PATH": "/etc/recsys-tenants/shop.toml"},
    "plain": {"RECSYS_TENANTS_PATH": "/etc/recsys-tenants/tenants.toml"},
    "webhook-secret": {"RECSYS_INSECURE_ALLOW_UNAUTHENTICATED": "true"},
    "no-keys": {"RECSYS_INSECURE_ALLOW_UNAUTHENTICATED": "true"},
}
GENERATED = {"RECSYS_TENANTS_PATH": "/etc/recsys-tenants/tenants.toml"}
# The generated tenant and its collection.
TENANT = ("default", "items")
TENANTS = {"everything": ("shop-2", 'the "shop"')}
# All but admin.
ROLES = ["ingest", "serve", "read-profile", "catalog", "erase"]


def only_who_should_may_call(variant, pod, env):
    told = {
        name: env[name].get("value")
        for name in ("RECSYS_TENANTS_PATH", "RECSYS_INSECURE_ALLOW_UNAUTHENTICATED")
        if name in env
    }
    variant.equal(len(told), 1, "number of answers to who may call")
    variant.equal(told, KNOWS_CALLERS_BY.get(variant.name, GENERATED), "who may call")
    reflection = "false" if variant.name == "client-certificates" else "true"
    variant.equal(env["RECSYS_REFLECTION"]["value"], reflection, "RECSYS_REFLECTION")

    (container,) = pod["containers"]
    mounts = {mount["mountPath"]: mount for mount in container.get("volumeMounts", [])}
    variant.check(
        not any("subPath" in mount for mount in mounts.values()),
        "no subPath: what is mounted so is never exchanged",
    )
    is_keyed = "RECSYS_TENANTS_PATH" in told
    variant.equal("/etc/recsys-tenants" in mounts, is_keyed, "tenants to be mounted")
    if is_keyed:
        mount = mounts["/etc/recsys-tenants"]
        variant.equal(mount["readOnly"], True, "tenants mounted read-only")
        (volume,) = (v["secret"] for v in pod["volumes"] if v["name"] == mount["name"])
        variant.equal(volume["defaultMode"], 0o440, "who may read the tenants")
        if variant.name not in KNOWS_CALLERS_BY:
            generated_key_fits(variant, volume)
            return
    made = [s for s in variant.of_kind("Secret") if "tenants.toml" in s["data"]]
    variant.equal(made, [], "keys that nobody asked for")


def generated_key_fits(variant, volume):
    secret = variant.one("Secret", "-auth")
    variant.equal(volume["secretName"], secret["metadata"]["name"], "the Secret with the tenants")
    variant.equal(
        volume["items"],
        [{"key": "tenants.toml", "path": "tenants.toml"}],
        "what is mounted: the tenants file, and not the key",
    )
    variant.equal(
        secret["metadata"]["annotations"].get("helm.sh/resource-policy"),
        "keep",
        "resource policy of the key",
    )
    variant.equal(set(secret["data"]), {"key", "tenants.toml"}, "what the Secret holds")
    key, file = (base64.b64decode(secret["data"][n]).decode() for n in ("key", "tenants.toml"))
    # 43 letters and digits have 256 bits.
    form = re.fullmatch(r"rsk_([a-z0-9]{1,64})_[A-Za-z0-9]{43,}", key)
    variant.check(form, "a key of the form rsk_ID_SECRET that nobody can guess")
    variant.check(key not in file, "the tenants file without the key")
    name, collection = TENANTS.get(variant.name, TENANT)
    entry = {
        "id": form[1],
        "hash": "sha256:" + hashlib.sha256(key.encode()).hexdigest(),
        "roles": ROLES,
    }
    # No prefix: data that is there already is this tenant's.
    tenant = {"collection": collection, "key_prefix": "", "keys": [entry]}
    variant.equal(tomllib.loads(file), {"tenants": {name: tenant}}, "the tenants file")

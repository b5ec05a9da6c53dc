#!/usr/bin/env python3
"""Verifies an export of a record with nothing but SHA-256 and openssl: python3 verify_export.py evidence.jsonl

A second opinion beside `ravelin audit verify`. It trusts the public key in the first line: compare its fingerprint.
Export after one rotation of the signing key at most; `ravelin audit verify` follows any number.
"""
import base64, hashlib, json, os, subprocess, sys, tempfile

def openssl_verifies(spki, text, signature):
    with tempfile.TemporaryDirectory() as d:
        paths = [os.path.join(d, n) for n in ("key", "text", "signature")]
        pem = b"-----BEGIN PUBLIC KEY-----\n" + base64.encodebytes(spki) + b"-----END PUBLIC KEY-----\n"
        for path, data in zip(paths, (pem, text, signature)):
            open(path, "wb").write(data)
        command = ["openssl", "dgst", "-sha256", "-verify", paths[0], "-signature", paths[2], paths[1]]
        return subprocess.run(command, capture_output=True).returncode == 0

def raw_entry(line):  # the exact bytes between `"entry":` and the brace that ends the line
    return line.rstrip("\n").split('"entry":', 1)[1][:-1].encode()

def main(path):
    lines = open(path, encoding="utf-8", newline="\n").read().split("\n")
    title = json.loads(lines[0])
    sequence, head = title["first"] - 1, bytes.fromhex(title["head_before"])
    keys, signed = {}, 0
    for number, line in enumerate(lines[1:], 2):
        if not line:
            continue
        item = json.loads(line)
        if item["sequence"] != sequence + 1:
            return f"line {number}: entry {sequence + 1} was due"
        if "entry" in item:
            entry = item["entry"]
            if entry["kind"] == "segment" and not keys:
                keys[entry["signer"]["key"]] = base64.b64decode(entry["signer"]["public_key"])
            if entry["kind"] == "signer":
                keys[entry["key"]] = base64.b64decode(entry["public_key"])
            if entry["kind"] == "checkpoint":
                text = ("ravelin record checkpoint 1\nrecord {record}\nsequence {sequence}\nhead {head}\n"
                        "signed_ms {signed_ms}\nclosed {c}\nkey {key}\n").format(c=str(entry["closed"]).lower(), **entry)
                if (entry["sequence"], entry["head"], entry["record"]) != (sequence, head.hex(), title["record"]):
                    return f"line {number}: signed for something else, after entry {signed}"
                if not openssl_verifies(keys[entry["key"]], text.encode(), base64.b64decode(entry["signature"])):
                    return f"line {number}: the signature is not valid"
                signed = sequence
            leaf = hashlib.sha256(b"\0" + bytes.fromhex(item["salt"]) + raw_entry(line)).digest()
        else:
            leaf = bytes.fromhex(item["leaf"])
        sequence += 1
        head = hashlib.sha256(b"\1" + head + sequence.to_bytes(8, "big") + leaf).digest()
    for spki in keys.values():
        print("signed by", hashlib.sha256(spki).hexdigest())
    if sequence != signed + 1:
        return f"entries after {signed} are not signed for"
    print(f"whole: entries {title['first']} to {sequence}")

problem = main(sys.argv[1])
if problem:
    sys.exit(f"damaged: {problem}")

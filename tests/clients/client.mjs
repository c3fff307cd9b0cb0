// Uses the official client against the URL in argv; the token comes by standard input.
import { readFileSync } from "node:fs";
import assert from "node:assert/strict";
import { createClient } from "@libsql/client";

const db = createClient({ url: process.argv[2], authToken: readFileSync(0, "utf8") });
await db.execute("create table t (a integer primary key, b)");
await db.batch(
  [
    { sql: "insert into t (b) values (?)", args: ["x"] },
    { sql: "insert into t (b) values (:v)", args: { v: new Uint8Array([0, 255]) } },
  ],
  "write",
);
const rows = (await db.execute("select a, b from t order by a")).rows;
assert.equal(rows.length, 2);
assert.deepEqual(new Uint8Array(rows[1].b), new Uint8Array([0, 255]));
const change = await db.transaction("write");
await change.execute("delete from t");
await change.rollback();
assert.equal((await db.execute("select count(*) as n from t")).rows[0].n, 2);
await assert.rejects(db.execute("insert into t values (1, 2)"), { code: "SQLITE_CONSTRAINT" });
db.close();
console.log("done");

// Uses the official client: the address in argv, the cluster's number by standard input.
import { readFileSync } from "node:fs";
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const tb = require("tigerbeetle-node");

const client = tb.createClient({
  cluster_id: BigInt(readFileSync(0, "utf8")),
  replica_addresses: [process.argv[2]],
});
const account = (id, flags = 0) => ({
  id, debits_pending: 0n, debits_posted: 0n, credits_pending: 0n, credits_posted: 0n,
  user_data_128: 0n, user_data_64: 7n, user_data_32: 0, reserved: 0, ledger: 978, code: 1,
  flags, timestamp: 0n,
});
const transfer = (id, amount, flags = 0, rest = {}) => ({
  id, debit_account_id: 11n, credit_account_id: 12n, amount, pending_id: 0n, user_data_128: 0n,
  user_data_64: 0n, user_data_32: 0, timeout: 0, ledger: 978, code: 1, flags, timestamp: 0n,
  ...rest,
});
const statuses = (results) => results.map((each) => each.status);

const created = tb.CreateTransferStatus.created;
assert.deepEqual(
  statuses(await client.createAccounts([account(11n), account(12n, tb.AccountFlags.history)])),
  [tb.CreateAccountStatus.created, tb.CreateAccountStatus.created],
);
const first = tb.id();
assert.deepEqual(
  statuses(await client.createTransfers([
    transfer(first, 100n, tb.TransferFlags.pending, { timeout: 60 }),
    transfer(tb.id(), 2n ** 100n),
  ])),
  [created, created],
);
assert.deepEqual(
  statuses(await client.createTransfers([
    transfer(tb.id(), 40n, tb.TransferFlags.post_pending_transfer, {
      pending_id: first, debit_account_id: 0n, credit_account_id: 0n, ledger: 0, code: 0,
    }),
    transfer(tb.id(), 1n, tb.TransferFlags.linked),
  ])),
  [created, tb.CreateTransferStatus.linked_event_chain_open],
);
const [debit] = await client.lookupAccounts([11n]);
assert.equal(debit.debits_posted, 2n ** 100n + 40n);
assert.equal(debit.debits_pending, 0n);
const filter = {
  account_id: 12n, user_data_128: 0n, user_data_64: 0n, user_data_32: 0, code: 0,
  timestamp_min: 0n, timestamp_max: 0n, limit: 10,
  flags: tb.AccountFilterFlags.credits | tb.AccountFilterFlags.reversed,
};
assert.equal((await client.getAccountTransfers(filter)).length, 3);
assert.equal((await client.getAccountBalances(filter))[0].credits_posted, 2n ** 100n + 40n);
const query = {
  user_data_128: 0n, user_data_64: 7n, user_data_32: 0, ledger: 978, code: 1,
  timestamp_min: 0n, timestamp_max: 0n, limit: 10, flags: 0,
};
assert.equal((await client.queryAccounts(query)).length, 2);
client.destroy();
console.log("done");

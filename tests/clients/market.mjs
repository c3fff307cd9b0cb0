// Uses Akash's official SDK against the node in argv: it reads a file, lists the bids on its
// deployment and makes a lease; the operator's token comes by standard input.
import { readFileSync } from "node:fs";
import assert from "node:assert/strict";
import { createChainNodeWebSDK } from "@akashnetwork/chain-sdk/web";

const baseUrl = process.argv[2];
const owner = process.argv[3];
const dseq = BigInt(process.argv[4]);
const token = readFileSync(0, "utf8");

const plain = (_key, value) => (typeof value === "bigint" ? value.toString() : value);
const signer = {
  async signAndBroadcast(messages) {
    for (const { typeUrl, value } of messages) {
      const id = value.bidId ?? value.id;
      const numbers = { ...id, dseq: id.dseq.toString() };
      const body = JSON.stringify({ typeUrl, value: { ...value, bidId: numbers, id: numbers } }, plain);
      const answer = await fetch(`${baseUrl}/market/v1/messages`, {
        method: "POST",
        headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
        body,
      });
      assert.equal(answer.status, 200, await answer.text());
    }
    return { code: 0, height: 1, txIndex: 0, transactionHash: "", events: [], msgResponses: [], gasUsed: 0n, gasWanted: 0n };
  },
  async getAccount() {
    return { address: owner };
  },
  async estimateFee() {
    return { amount: [], gas: "0" };
  },
  async sign() {
    throw new Error("not used");
  },
  async broadcast() {
    throw new Error("not used");
  },
  async disconnect() {},
};

const sdk = createChainNodeWebSDK({ query: { baseUrl }, tx: { signer } });
const market = sdk.akash.market.v1beta5;

const { bids } = await market.getBids({ filters: { owner, dseq } });
assert.ok(bids.length >= 1);
const { bid } = bids[0];
console.log(JSON.stringify(bids[0], plain));
await market.createLease({ bidId: bid.id });
const { leases } = await market.getLeases({ filters: { owner, dseq } });
console.log(JSON.stringify(leases[0], plain));

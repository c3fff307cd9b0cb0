// Uses the official client against the URL in argv; the credentials come by the environment.
import assert from "node:assert/strict";
import { Readable } from "node:stream";
import * as s3 from "@aws-sdk/client-s3";

const client = new s3.S3Client({
  endpoint: process.argv[2],
  region: "us-east-1",
  forcePathStyle: true,
});
const send = (command, input) => client.send(new s3[`${command}Command`]({ Bucket: "media", ...input }));
const text = async (input) => (await send("GetObject", input)).Body.transformToString();

await send("PutObject", { Key: "a/ü 1", Body: "hello", Metadata: { by: "me" } });
assert.equal(await text({ Key: "a/ü 1" }), "hello");
assert.equal(await text({ Key: "a/ü 1", Range: "bytes=1-2" }), "el");
assert.deepEqual((await send("HeadObject", { Key: "a/ü 1" })).Metadata, { by: "me" });

const parts = Array.from({ length: 40 }, (_, n) => Buffer.alloc(10_000, n));
const body = Readable.from(parts);
await send("PutObject", { Key: "streamed", Body: body, ContentLength: 400_000 });
const whole = (await send("GetObject", { Key: "streamed" })).Body;
assert.deepEqual(Buffer.from(await whole.transformToByteArray()), Buffer.concat(parts));

const { UploadId } = await send("CreateMultipartUpload", { Key: "large" });
const piece = Buffer.alloc(5 * 1024 * 1024, 7);
const done = [];
for (const PartNumber of [1, 2]) {
  const { ETag } = await send("UploadPart", { Key: "large", UploadId, PartNumber, Body: piece });
  done.push({ ETag, PartNumber });
}
await send("CompleteMultipartUpload", { Key: "large", UploadId, MultipartUpload: { Parts: done } });
assert.equal((await send("HeadObject", { Key: "large" })).ContentLength, 2 * piece.length);

const again = send("PutObject", { Key: "large", Body: "x", IfNoneMatch: "*" });
await assert.rejects(again, { name: "PreconditionFailed" });
const pages = s3.paginateListObjectsV2({ client, pageSize: 2 }, { Bucket: "media" });
const keys = [];
for await (const page of pages) keys.push(...page.Contents.map((each) => each.Key));
assert.deepEqual(keys, ["a/ü 1", "large", "streamed"]);
await send("DeleteObjects", { Delete: { Objects: keys.map((Key) => ({ Key })) } });
assert.equal((await send("ListObjectsV2", {})).KeyCount, 0);
console.log("done");

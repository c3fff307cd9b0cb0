// Derives groups, manifest and its hash from SDL files with Akash's official SDK. Standard input is
// a JSON list of files as plain values; the answer is one line of JSON for each.
import { readFileSync } from "node:fs";
import { generateManifest, generateManifestVersion, manifestToSortedJSON } from "@akashnetwork/chain-sdk/web";

for (const file of JSON.parse(readFileSync(0, "utf8"))) {
  const result = generateManifest(file);
  if (!result.ok) {
    console.log(JSON.stringify({ ok: false, message: result.value[0].message }));
    continue;
  }
  const hash = Buffer.from(await generateManifestVersion(result.value.groups)).toString("hex");
  const groups = JSON.parse(manifestToSortedJSON(result.value.groupSpecs));
  console.log(JSON.stringify({ ok: true, hash, groups }));
}

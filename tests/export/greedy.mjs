// Greedy tokens of a bundle: node greedy.mjs FOLDER_OF_ONNXRUNTIME_NODE BUNDLE COUNT ID...
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [modules, bundle, count, ...ids] = process.argv.slice(2);
const ort = createRequire(`${modules}/`)("onnxruntime-node");
const { state: leaves } = JSON.parse(readFileSync(`${bundle}/manifest.json`));
const session = await ort.InferenceSession.create(`${bundle}/decode.onnx`);

function first({ shape, dtype, initial }) {
  const size = [1, ...shape.map((n) => n ?? 0)];
  const Values = { float32: Float32Array, int32: Int32Array }[dtype];
  return new ort.Tensor(dtype, new Values(size.reduce((a, b) => a * b)).fill(initial), size);
}

let state = Object.fromEntries(leaves.map((leaf) => [leaf.name, first(leaf)]));
let read = ids.map(Number);
const written = [];
for (let i = 0; i < count; i++) {
  const token_ids = new ort.Tensor("int32", Int32Array.from(read), [1, read.length]);
  const inputs = { token_ids, ...state };
  const feeds = Object.fromEntries(session.inputNames.map((name) => [name, inputs[name]]));
  const outputs = await session.run(feeds);
  for (const name of Object.keys(state)) state[name] = outputs[`${name}_out`] ?? state[name];
  const last = outputs.logits.data.slice(-outputs.logits.dims[2]);
  last[0] = -Infinity; // padding is no token
  read = [last.indexOf(Math.max(...last))];
  written.push(read[0]);
}
console.log(JSON.stringify(written));

// Reads a JSON array of custom resources from standard input and prints what their own definitions say against them, as a
// JSON array of texts. The npm packages hold a validator for each kind, which lets unknown fields pass, as it only reads the
// fields that it knows. So it is handed objects that remember what was read of them: what it never looked at, no controller
// will look at either.
import { readFileSync } from "node:fs";

const PACKAGES = {
  "cert-manager.io": "cert-manager",
  "gateway.networking.k8s.io": "gateway-api",
  "keda.sh": "keda",
  "monitoring.coreos.com": "prometheus-operator",
  "networking.istio.io": "istio",
  "traefik.io": "traefik",
};

// Every field of the resource that nobody has read yet, by its path.
function watched(value, path, unread) {
  if (value === null || typeof value !== "object") return value;
  const members = Array.isArray(value) ? [] : {};
  for (const [key, member] of Object.entries(value)) {
    const own = Array.isArray(value) ? `${path}[${key}]` : `${path}.${key}`;
    if (!Array.isArray(value)) unread.add(own);
    members[key] = watched(member, own, unread);
  }
  return new Proxy(members, {
    get(target, key) {
      unread.delete(`${path}.${String(key)}`);
      return Reflect.get(target, key);
    },
  });
}

async function mistakes(resource) {
  const { apiVersion, kind, metadata } = resource;
  const name = `${kind} ${metadata?.name}`;
  const group = apiVersion.split("/")[0];
  if (!PACKAGES[group]) return [`${name}: nobody knows ${apiVersion}`];
  const { [kind]: Model } = await import(`@kubernetes-models/${PACKAGES[group]}/${apiVersion}/${kind}`);
  const unread = new Set();
  try {
    Model.prototype.validate.call(watched(resource, "", unread));
  } catch (error) {
    return [`${name}: ${error.message}`];
  }
  return [...unread].map((path) => `${name}: ${path} is no field of it`);
}

const resources = JSON.parse(readFileSync(0, "utf8"));
const found = [];
for (const resource of resources) found.push(...(await mistakes(resource)));
process.stdout.write(JSON.stringify(found));

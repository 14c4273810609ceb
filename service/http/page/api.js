// Calls the service that this page comes from. The API key lives in this module only, for as long as the page is open.

export const ROOT = new URL("../", import.meta.url);
let key = null;

/** Whether a text can be a key: headers carry no other characters. */
export const isKey = (text) => /^[!-~]+$/.test(text);

/** Views that were refused listen for `key` on the document, and ask again. */
export function setKey(value) {
  key = value;
  document.dispatchEvent(new Event("key"));
}

export const hasKey = () => key !== null;

/** An error answer of the service, or no answer. */
export class Problem extends Error {
  /**
   * @param {number} status HTTP status; 0 if nothing answered
   * @param {Object} document the `application/problem+json`
   * @param {number|null} retryAfter seconds
   */
  constructor(status, document, retryAfter) {
    super(document.detail || document.title || `the service answered ${status}`);
    this.status = status;
    this.kind = (document.type || "").replace("urn:notellm:problem:", "");
    this.requestId = document.request_id || null;
    this.retryAfter = retryAfter;
  }
}

/**
 * @param {"GET"|"POST"} method
 * @param {string} path relative to the service, with its query
 * @param {Object} [body]
 * @param {AbortSignal} [signal]
 * @returns {Promise<Response>}
 */
async function fetched(method, path, body, signal) {
  const headers = { ...(body ? { "Content-Type": "application/json" } : {}), ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  let answer;
  try {
    answer = await fetch(new URL(path, ROOT), { method, headers, signal, body: body ? JSON.stringify(body) : undefined });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { detail: "The service does not answer. Is it still running?" }, null);
  }
  if (answer.ok) return answer;
  const after = Number(answer.headers.get("Retry-After"));
  const document = await answer.json().catch(() => ({}));
  throw new Problem(answer.status, document, after > 0 ? after : null);
}

export const call = async (method, path, body, signal) => (await fetched(method, path, body, signal)).json();
export const text = async (path) => (await fetched("GET", path)).text();

/** The path of a stored note. */
export const notePath = (id) => `notes/${encodeURIComponent(id)}`;

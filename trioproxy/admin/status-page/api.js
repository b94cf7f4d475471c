// Requests to the proxy's API, with the token where there is one. The token stays in this tab, and goes nowhere else.

import { refusal } from "./stream.js";

const KEPT = "trioproxy token";

/** A 401 is told to `locked` besides being an error. */
export class Api {
  constructor(locked) {
    this.locked = locked;
  }

  get token() {
    return sessionStorage.getItem(KEPT);
  }

  set token(value) {
    if (value === null) sessionStorage.removeItem(KEPT);
    else sessionStorage.setItem(KEPT, value);
  }

  /** The Response, whatever it is. */
  open(path, options = {}) {
    const headers = { ...options.headers };
    // What no header field can carry was not the token: the proxy says so
    if (this.token !== null) headers.Authorization = `Bearer ${encodable(this.token)}`;
    return fetch(path, { cache: "no-store", credentials: "omit", redirect: "error", referrerPolicy: "no-referrer", ...options, headers });
  }

  /** The Response of a request that was done; everything else is an Error with one line for people. */
  async get(path, options) {
    let response;
    try {
      response = await this.open(path, options);
    } catch {
      throw new Error("The proxy does not answer.");
    }
    if (response.status === 401) this.locked();
    if (!response.ok) throw new Error(await refusal(response));
    return response;
  }

  async post(path, body) {
    const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
    return (await this.get(path, options)).json();
  }
}

function encodable(token) {
  return /^[\x20-\x7e\x80-\xff]+$/.test(token) ? token : "-";
}

/** How a request is turned down, by whoever finds the reason. */

/** The request is understood and refused: `status` and `errors` go to the client. */
export class Refused extends Error {
  readonly status: number;
  readonly errors: readonly string[];
  constructor(status: number, message: string, errors: readonly string[] = []) {
    super(message);
    this.status = status;
    this.errors = errors;
  }
}

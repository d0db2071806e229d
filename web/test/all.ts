// All tests in one bundle: node reads it from its input, so nothing is written anywhere.
import "./pure.test.ts";
import "./shown.test.ts";

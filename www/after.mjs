// What is done to the page that Trunk has built, in this order. A published page is packed; one that is worked on is not.
import { packPage } from "./pack.mjs";
import { writePolicy } from "./csp.mjs";

const dir = process.env.TRUNK_STAGING_DIR;
if (process.env.TRUNK_PROFILE === "release") await packPage(dir);
writePolicy(dir);

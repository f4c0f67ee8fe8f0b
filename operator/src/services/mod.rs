//! A Service becomes a claim, and what came of the claim becomes the Service's status.

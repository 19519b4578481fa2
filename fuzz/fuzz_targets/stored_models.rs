#![no_main]

recsys_fuzz::target!(stored_models);

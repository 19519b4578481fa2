#![no_main]

recsys_fuzz::target!(catalogue_lines);

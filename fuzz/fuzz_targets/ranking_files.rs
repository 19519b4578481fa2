#![no_main]

recsys_fuzz::target!(ranking_files);

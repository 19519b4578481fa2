#![no_main]

recsys_fuzz::target!(deliveries);

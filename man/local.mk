# SPDX-License-Identifier: MIT
dist_man1_MANS += man/twinfs.1

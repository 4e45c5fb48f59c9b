//! Checksums: CRC-32C (Castagnoli), which finds each error of up to 32 bits in a row.

use crc_fast::{CrcAlgorithm, Digest};

/// The checksum of what had the checksum `so_far`, 0 for nothing, and of `bytes` behind it.
pub(crate) fn checksum(so_far: u32, bytes: &[u8]) -> u32 {
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, u64::from(!so_far));
    digest.update(bytes);
    digest.finalize() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_standard_one_in_any_number_of_pieces() {
        // The check value of the catalogue of CRCs.
        assert_eq!(checksum(0, b"123456789"), 0xE306_9283);
        let text: Vec<u8> = (0..1000_u32).map(|at| (at * at / 7) as u8).collect();
        let whole = checksum(0, &text);
        for size in [1, 7, 64, 255, 999] {
            let pieces = text.chunks(size).fold(0, checksum);
            assert_eq!(pieces, whole, "pieces of {size}");
        }
        assert_eq!(checksum(whole, b""), whole);
    }
}
